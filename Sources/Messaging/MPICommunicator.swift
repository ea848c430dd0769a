import CMPI
import Core
import Foundation
import Tensors

/// The ranks mpirun started, over `MPI_COMM_WORLD`.
///
/// All calls come from the thread that made it (MPI_THREAD_FUNNELED). MPI starts once a process and
/// never again after `finish`.
package final class MPICommunicator: Communicator {
  package let rank: Int
  package let size: Int
  package let hostName: String
  /// Messages of more elements travel in pieces of this many: MPI counts in 32 bits.
  package var pieceLimit = Int(Int32.max) {
    didSet { precondition(1...Int(Int32.max) ~= pieceLimit, "MPI counts in 32 bits") }
  }
  package private(set) var nodes: NodeTopology
  package let waits: WaitWatch
  /// Shared by the ranks of this computer, whatever the nodes.
  private var board: ArrivalBoard?
  let world: MPI_Comm
  /// The ranks of this node, in the order of their numbers.
  let node: MPI_Comm
  /// Node memory as MPI knows it, freed in `finish` in this order.
  var windows: [MPI_Win?] = []
  private var boardWindowCount = 0
  var windowByteCount = 0
  /// Free bytes where node memory lies, before the first of it.
  var firstFreeByteCount: Int?
  /// Starts that nobody has seen done.
  var unfinishedCount = 0
  /// How often this rank has come to `nodeBarrier`, and how often the others have.
  var nodeBarriers = 0
  var nodeBarrierCounters: NodeCounters?
  private let nothing = FloatBuffer(count: 0)
  /// A part of node memory without floats has to begin somewhere too.
  var emptyPart: Vector { nothing.view }

  /// Throws: `Failure` (.internal) when MPI does not start or cannot be used from threads at all.
  package init() throws(Failure) {
    precondition(Launch.isByMPI, "MPI is for processes that mpirun started")
    let funneled = Int32(MPI_THREAD_FUNNELED)
    var provided: Int32 = 0
    try Self.check(
      MPI_Init_thread(nil, nil, funneled, &provided), "MPI_Init_thread", rank: nil)
    guard provided >= funneled else {
      throw Failure(.internal, "MPI_Init_thread: this MPI was built without support for threads")
    }
    guard let world = lockstep_mpi_comm_world() else {
      throw Failure(.internal, "MPI_Init_thread: MPI has no world communicator")
    }
    self.world = world
    var number: Int32 = 0
    try Self.check(MPI_Comm_rank(world, &number), "MPI_Comm_rank", rank: nil)
    rank = Int(number)
    // Errors are returned rather than fatal, so that they reach the rank's log with their place.
    try Self.check(
      MPI_Comm_set_errhandler(world, lockstep_mpi_errors_return()), "MPI_Comm_set_errhandler",
      rank: rank)
    try Self.check(MPI_Comm_size(world, &number), "MPI_Comm_size", rank: rank)
    size = Int(number)
    hostName = HostName.current
    let (node, nodeOfRank) = try Self.findNode(of: rank, in: world, size: size)
    self.node = node
    nodes = NodeTopology(nodeOfRank: nodeOfRank)
    waits = WaitWatch(rank: rank, size: size)
    board = makeBoard()
    boardWindowCount = windows.count
    waits.setBoard(board)
  }

  package func separateNodes() {
    precondition(windows.count == boardWindowCount, "node memory is shared already")
    nodes = .separate(size: size)
  }

  package func barrier() throws(Failure) {
    try collective(.barrier) { () throws(Failure) in
      try check(MPI_Barrier(world), "MPI_Barrier")
    }
  }

  package func broadcast(_ bytes: [UInt8], from root: Int) throws(Failure) -> [UInt8] {
    precondition(0..<size ~= root, "rank \(root) does not exist")
    return try collective(.broadcast) { () throws(Failure) in
      try broadcastPieces(bytes, from: root)
    }
  }

  private func broadcastPieces(_ bytes: [UInt8], from root: Int) throws(Failure) -> [UInt8] {
    var count = Int64(bytes.count)
    try check(
      MPI_Bcast(&count, 1, lockstep_mpi_int64(), Int32(root), world), "MPI_Bcast of a length")
    var result = rank == root ? bytes : [UInt8](repeating: 0, count: Int(count))
    for piece in pieces(of: result.count) {
      let code = result.withUnsafeMutableBytes {
        MPI_Bcast(
          $0.baseAddress.map { $0 + piece.lowerBound }, Int32(piece.count), lockstep_mpi_byte(),
          Int32(root), world)
      }
      try check(code, "MPI_Bcast of \(result.count) bytes")
    }
    return result
  }

  package func allGather(bytes: [UInt8]) throws(Failure) -> [[UInt8]] {
    try collective(.allGather) { () throws(Failure) in try gatherPieces(bytes) }
  }

  private func gatherPieces(_ bytes: [UInt8]) throws(Failure) -> [[UInt8]] {
    var count = Int64(bytes.count)
    var counts = [Int64](repeating: 0, count: size)
    try check(
      MPI_Allgather(
        &count, 1, lockstep_mpi_int64(), &counts, 1, lockstep_mpi_int64(), world),
      "MPI_Allgather of lengths")
    let total = counts.reduce(0, +)
    guard total <= pieceLimit else {
      // Rare and large: one broadcast a rank, which cuts into pieces.
      var result: [[UInt8]] = []
      for root in 0..<size { result.append(try broadcastPieces(bytes, from: root)) }
      return result
    }
    let starts = counts.reduce(into: [0]) { $0.append($0[$0.count - 1] + Int($1)) }
    var all = [UInt8](repeating: 0, count: Int(total))
    try check(
      MPI_Allgatherv(
        bytes, Int32(bytes.count), lockstep_mpi_byte(), &all, counts.map { Int32($0) },
        starts.dropLast().map { Int32($0) }, lockstep_mpi_byte(), world),
      "MPI_Allgatherv of \(total) bytes")
    return (0..<size).map { Array(all[starts[$0]..<starts[$0 + 1]]) }
  }

  package func allGather(_ values: [Double]) throws(Failure) -> [[Double]] {
    try allGather(bytes: Bytes.of(values)).map(Bytes.doubles)
  }

  package func agree(_ flags: UInt64) throws(Failure) -> UInt64 {
    var own = flags
    var all: UInt64 = 0
    try collective(.agree) { () throws(Failure) in
      try check(
        MPI_Allreduce(&own, &all, 1, lockstep_mpi_uint64(), lockstep_mpi_bor(), world),
        "MPI_Allreduce of flags")
    }
    return all
  }

  package func allReduceSum(_ vector: Vector) throws(Failure) {
    try collective(.allReduceSum) { () throws(Failure) in
      for piece in pieces(of: vector.count) {
        try check(
          MPI_Allreduce(
            lockstep_mpi_in_place(), vector.base + piece.lowerBound, Int32(piece.count),
            lockstep_mpi_float(), lockstep_mpi_sum(), world),
          "MPI_Allreduce of \(vector.count) floats")
      }
    }
  }

  package func abort(_ code: ExitCode) {
    MPI_Abort(world, code.rawValue)
    // Reached only if MPI itself is broken; mpirun then ends the others for this exit code.
    exit(code.rawValue)
  }

  package func finish() throws(Failure) {
    try checkNothingIsPending(unfinishedCount)
    // It reads the windows.
    waits.stop()
    try freeWindows()
    try check(MPI_Finalize(), "MPI_Finalize")
  }

  /// Runs what every rank comes to as a wait.
  private func collective<Value>(
    _ operation: WaitWatch.Operation, _ body: () throws(Failure) -> Value
  ) throws(Failure) -> Value {
    board?.arrive(rank)
    waits.begin(operation)
    defer { waits.end() }
    return try body()
  }
}

extension MPICommunicator {
  /// The one place that cuts what MPI cannot count; an empty message is one empty piece.
  func pieces(of count: Int) -> [Range<Int>] {
    if count == 0 { return [0..<0] }
    return stride(from: 0, to: count, by: pieceLimit).map { $0..<min(count, $0 + pieceLimit) }
  }

  func number(of peer: Int) -> Int32 {
    precondition(0..<size ~= peer, "rank \(peer) does not exist")
    return Int32(peer)
  }

  func check(_ code: Int32, _ operation: String) throws(Failure) {
    try Self.check(code, operation, rank: rank)
  }

  /// The funnel every return code of MPI passes.
  static func check(_ code: Int32, _ operation: String, rank: Int?) throws(Failure) {
    guard code != MPI_SUCCESS else { return }
    var text = [CChar](repeating: 0, count: Int(MPI_MAX_ERROR_STRING) + 1)
    var length: Int32 = 0
    let isKnown = MPI_Error_string(code, &text, &length) == MPI_SUCCESS
    let reason =
      isKnown
      ? String(decoding: text.prefix(Int(length)).map(UInt8.init(bitPattern:)), as: UTF8.self)
      : "an error MPI has no text for"
    let place = rank.map { " on rank \($0)" } ?? ""
    throw Failure(.internal, "\(operation)\(place): \(reason) (MPI error \(code))")
  }
}
