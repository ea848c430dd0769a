import CMPI
import Core
import Foundation
import Tensors

/// What the ranks of a node share.
extension MPICommunicator {
  /// The communicator of the ranks that share memory with this one, and every rank's node.
  static func findNode(
    of rank: Int, in world: MPI_Comm, size: Int
  ) throws(Failure) -> (node: MPI_Comm, nodeOfRank: [Int]) {
    var split: MPI_Comm? = lockstep_mpi_comm_null()
    try check(
      MPI_Comm_split_type(
        world, Int32(MPI_COMM_TYPE_SHARED), Int32(rank), lockstep_mpi_info_null(), &split),
      "MPI_Comm_split_type", rank: rank)
    guard let node = split, node != lockstep_mpi_comm_null() else {
      throw Failure(.internal, "MPI_Comm_split_type on rank \(rank): no node has this rank")
    }
    try check(
      MPI_Comm_set_errhandler(node, lockstep_mpi_errors_return()), "MPI_Comm_set_errhandler",
      rank: rank)
    // A node is known by its first rank.
    var first = Int32(rank)
    try check(
      MPI_Bcast(&first, 1, lockstep_mpi_int32(), 0, node), "MPI_Bcast of a node", rank: rank)
    var firsts = [Int32](repeating: 0, count: size)
    try check(
      MPI_Allgather(&first, 1, lockstep_mpi_int32(), &firsts, 1, lockstep_mpi_int32(), world),
      "MPI_Allgather of nodes", rank: rank)
    let numbers = Dictionary(
      uniqueKeysWithValues: Set(firsts).sorted().enumerated().map { ($1, $0) })
    return (node, firsts.compactMap { numbers[$0] })
  }

  package func shareNodeMemory(count: Int, _ purpose: String) throws(Failure) -> NodeMemory {
    precondition(count >= 0, "a part cannot have a negative count")
    let ranks = nodeRanks
    guard ranks.count > 1 else { return NodeMemory(buffers: [rank: NodeBuffer(count: count)]) }
    waits.begin(.nodeMemory)
    defer { waits.end() }
    let counts = try countsOfNode(count)
    // OpenMPI aligns parts to a cache line only: a page more lets each begin on its own.
    let byteCounts = counts.map { $0 == 0 ? 0 : Pages.roundUp($0 * 4) + Pages.byteCount }
    let byteCount = byteCounts.reduce(0, +)
    try checkRoom(for: byteCount, purpose)
    let window = try allocateWindow(
      byteCount: byteCounts[ranks.firstIndex(of: rank) ?? 0], purpose, total: byteCount)
    windows.append(window)
    windowByteCount += byteCount
    var vectors: [Int: Vector] = [:]
    for (place, other) in ranks.enumerated() {
      vectors[other] = try part(place, of: window, count: counts[place])
    }
    return NodeMemory(vectors: vectors)
  }

  package func shareNodeCounters(count: Int) throws(Failure) -> NodeCounters {
    try makeNodeCounters(count: count)
  }

  package func nodeBarrier() throws(Failure) {
    let ranks = nodeRanks
    guard ranks.count > 1 else { return }
    let counters: NodeCounters
    if let made = nodeBarrierCounters {
      counters = made
    } else {
      counters = try shareNodeCounters(count: 1)
      nodeBarrierCounters = counters
    }
    nodeBarriers += 1
    counters.publish(0, nodeBarriers)
    defer { waits.end() }
    for other in ranks where other != rank {
      waits.begin(.nodeBarrier, other)
      // A rank of another node may need this one's messages before it lets ours come here.
      try counters.wait(0, of: other, atLeast: nodeBarriers) { () throws(Failure) in
        try moveMessagesOn()
      }
    }
  }

  package func moveMessagesOn() throws(Failure) {
    guard unfinishedCount > 0 else { return }
    var flag: Int32 = 0
    try check(
      MPI_Iprobe(
        Int32(MPI_ANY_SOURCE), Int32(MPI_ANY_TAG), world, &flag, lockstep_mpi_status_ignore()),
      "MPI_Iprobe")
  }

  /// Where the ranks of this computer see how far the others are; without room for it lines about
  /// long waits know less.
  func makeBoard() -> ArrivalBoard? {
    let memory = try? shareNodeMemory(count: ArrivalBoard.floatsEach, "arrivals")
    return memory.map { ArrivalBoard(memory: $0, ranks: nodeRanks) }
  }

  func freeWindows() throws(Failure) {
    for index in windows.indices {
      try check(MPI_Win_free(&windows[index]), "MPI_Win_free")
    }
    windows = []
  }
}

extension MPICommunicator {
  private func countsOfNode(_ count: Int) throws(Failure) -> [Int] {
    var own = Int64(count)
    var counts = [Int64](repeating: 0, count: nodeRanks.count)
    try check(
      MPI_Allgather(
        &own, 1, lockstep_mpi_int64(), &counts, 1, lockstep_mpi_int64(), node),
      "MPI_Allgather of counts")
    return counts.map { Int($0) }
  }

  /// Writing to memory that does not fit ends a process with SIGBUS, so it is counted before.
  private func checkRoom(for byteCount: Int, _ purpose: String) throws(Failure) {
    let place = FileSystem.mountPoint(of: Self.windowDirectory)
    // One rank looks, so that all see the same; nothing, where it cannot look.
    var free = Int64(Self.freeByteCount(of: Self.windowDirectory) ?? -1)
    try check(MPI_Bcast(&free, 1, lockstep_mpi_int64(), 0, node), "MPI_Bcast of free space")
    guard free >= 0 else { return }
    let first = firstFreeByteCount ?? Int(free)
    firstFreeByteCount = first
    // Earlier windows may still be untouched: they count against what was free before them.
    let available = min(Int(free), first - windowByteCount)
    guard byteCount + Self.windowOverhead <= available else {
      throw Failure(
        .cannotCreate,
        "\(place) on \(hostName): \(purpose) needs \(Self.mebibytes(byteCount)) of memory "
          + "shared by the \(nodeRanks.count) ranks of the node, and "
          + "\(Self.mebibytes(max(0, available))) are free; make room there or mount a larger "
          + "one, or do without shared memory by parallel.exchange=messages")
    }
  }

  private func allocateWindow(
    byteCount: Int, _ purpose: String, total: Int
  ) throws(Failure) -> MPI_Win? {
    var information: MPI_Info?
    try check(MPI_Info_create(&information), "MPI_Info_create")
    try check(
      MPI_Info_set(information, "alloc_shared_noncontig", "true"), "MPI_Info_set")
    var base: UnsafeMutableRawPointer?
    var window: MPI_Win?
    let code = MPI_Win_allocate_shared(byteCount, 1, information, node, &base, &window)
    try check(
      code,
      "MPI_Win_allocate_shared of \(Self.mebibytes(total)) in "
        + "\(FileSystem.mountPoint(of: Self.windowDirectory)) for \(purpose)")
    try check(
      MPI_Win_set_errhandler(window, lockstep_mpi_errors_return()), "MPI_Win_set_errhandler")
    try check(MPI_Info_free(&information), "MPI_Info_free")
    return window
  }

  private func part(
    _ place: Int, of window: MPI_Win?, count: Int
  ) throws(Failure) -> Vector {
    var byteCount: MPI_Aint = 0
    var unit: Int32 = 0
    var found: UnsafeMutableRawPointer?
    try check(
      MPI_Win_shared_query(window, Int32(place), &byteCount, &unit, &found),
      "MPI_Win_shared_query")
    guard count > 0 else { return emptyPart }
    guard let found else {
      throw Failure(.internal, "MPI_Win_shared_query on rank \(rank): part \(place) is nowhere")
    }
    let base = found.alignedUp(toMultipleOf: Pages.byteCount)
    precondition(base + count * 4 <= found + byteCount, "the part fits its window")
    return Vector(base: base.bindMemory(to: Float.self, capacity: count), count: count)
  }

  /// Where OpenMPI's `osc sm` puts windows, unless a file of parameters says otherwise. A
  /// supervisor gives each job a folder of its own and removes it: people are told what that is
  /// mounted on.
  private static var windowDirectory: String {
    ProcessInfo.processInfo.environment["OMPI_MCA_osc_sm_backing_directory"] ?? "/dev/shm"
  }

  private static func freeByteCount(of directory: String) -> Int? {
    var statistics = statvfs()
    guard statvfs(directory, &statistics) == 0 else { return nil }
    return Int(statistics.f_bavail) * Int(statistics.f_frsize)
  }

  private static func mebibytes(_ bytes: Int) -> String {
    "\((bytes + (1 << 20) - 1) >> 20) MiB"
  }

  /// MPI's own page or two in front of the parts.
  private static let windowOverhead = 1 << 16
}
