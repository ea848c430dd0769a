import Core
import Messaging
import Parallelism
import Tensors

/// Times the exchange of gradients beside `MPI_Allreduce` on the same data and beside the memory
/// bandwidth of the same run; the data is out of the caches each time.
package final class ExchangeBenchmark {
  /// One way to the sum, as the OSU and nccl tests count: algorithm bandwidth is size by time, bus
  /// bandwidth that times 2 (ranks - 1) / ranks.
  package struct Timing: Codable, Equatable, Sendable {
    package var seconds: Double
    package var algorithmBandwidth: Double
    package var busBandwidth: Double
  }

  /// Medians over the iterations of the slowest rank; bandwidths in bytes per second.
  package struct Row: Codable, Equatable, Sendable {
    package var byteCount: Int
    package var elementCount: Int
    package var lockstep: Timing
    package var mpi: Timing
    /// How many times faster than MPI.
    package var speedup: Double
    /// The time that reading every gradient once and writing the sum once takes at the measured
    /// bandwidth, by the time taken; only where all ranks share one node.
    package var shareOfMemoryLimit: Double?
  }

  package struct Result: Codable, Equatable, Sendable {
    package var ranks: Int
    package var nodes: Int
    /// Bytes read and written per second when all ranks of a node copy at once.
    package var copyBandwidth: Double
    package var rows: [Row]
  }

  private let communicator: any Communicator
  private let flushed: FloatBuffer

  package init(communicator: any Communicator) {
    self.communicator = communicator
    flushed = FloatBuffer(count: Self.flushCount)
    flushed.view.fill(1)
  }

  /// - Parameter byteCounts: gradient sizes, multiples of 4.
  ///
  /// Collective.
  package func run(byteCounts: [Int]) throws(Failure) -> Result {
    let bandwidth = try copyBandwidth()
    var rows: [Row] = []
    for byteCount in byteCounts { rows.append(try row(byteCount, bandwidth)) }
    return Result(
      ranks: communicator.size, nodes: communicator.nodes.count, copyBandwidth: bandwidth,
      rows: rows)
  }

  private func row(_ byteCount: Int, _ bandwidth: Double) throws(Failure) -> Row {
    let count = byteCount / MemoryLayout<Float>.stride
    let ranks = communicator.size
    let subject = try Subject(count: count, communicator)
    let copy = FloatBuffer(count: count)
    copy.view.fill(1)
    let iterations = byteCount <= 4 << 20 ? 21 : byteCount <= 64 << 20 ? 11 : 7
    var own: [Double] = []
    var mpi: [Double] = []
    // Interleaved, so that a neighbour's noise meets both; the first time warms up.
    for iteration in 0...iterations {
      subject.fill()
      let ownSeconds = try time { () throws(Failure) in try subject.exchange() }
      copy.view.fill(1)
      let mpiSeconds = try time { () throws(Failure) in try communicator.allReduceSum(copy.view) }
      if iteration > 0 {
        own.append(ownSeconds)
        mpi.append(mpiSeconds)
      }
    }
    func timing(_ seconds: Double) -> Timing {
      let algorithm = Double(byteCount) / seconds
      return Timing(
        seconds: seconds, algorithmBandwidth: algorithm,
        busBandwidth: algorithm * 2 * Double(ranks - 1) / Double(ranks))
    }
    let (ours, theirs) = (median(own), median(mpi))
    let moved = Double(byteCount) * Double(ranks + 1)
    return Row(
      byteCount: byteCount, elementCount: count, lockstep: timing(ours), mpi: timing(theirs),
      speedup: theirs / ours,
      shareOfMemoryLimit: communicator.nodes.count == 1 ? moved / bandwidth / ours : nil)
  }

  /// Seconds of the slowest rank, from a common start and with cold caches.
  private func time(_ body: () throws(Failure) -> Void) throws(Failure) -> Double {
    flush()
    try communicator.barrier()
    let watch = Stopwatch()
    try body()
    let seconds = watch.seconds
    return try communicator.allGather([seconds]).map { $0[0] }.max() ?? seconds
  }

  /// Reads and writes more than the last-level cache holds.
  private func flush() {
    let half = flushed.count / 2
    add(flushed.view[0..<half], flushed.view[half..<2 * half], into: flushed.view[0..<half])
  }

  /// All ranks at once copy between buffers too large for the caches.
  private func copyBandwidth() throws(Failure) -> Double {
    let half = flushed.count / 2
    var seconds: [Double] = []
    for _ in 0..<7 {
      try communicator.barrier()
      let watch = Stopwatch()
      flushed.view[0..<half].copy(from: flushed.view[half..<2 * half])
      let own = watch.seconds
      seconds.append(try communicator.allGather([own]).map { $0[0] }.max() ?? own)
    }
    let onNode = communicator.nodeRanks.count
    return Double(2 * half * MemoryLayout<Float>.stride * onNode) / median(seconds)
  }

  /// 512 MiB a rank: two halves, each larger than any last-level cache of a few cores.
  private static let flushCount = 1 << 27
}

/// A gradient of one section over all ranks, exchanged as in a step.
private final class Subject {
  private let communicator: any Communicator
  private let layout: GradientLayout
  private let memory: NodeMemory
  private let gradientExchange: GradientExchange
  private let ownership: OwnershipMap
  /// Between nodes the sum has to travel on; inside of one it is read where its owner left it.
  private let spread: WeightSpread?
  private let sums: NodeMemory?
  private var step = 0

  init(count: Int, _ communicator: any Communicator) throws(Failure) {
    self.communicator = communicator
    let ranks = communicator.size
    let lanes = 1 << (Int.bitWidth - (ranks - 1).leadingZeroBitCount)
    let assignment = try LaneAssignment(lanes: lanes, replicas: ranks)
    let grid = try ProcessGrid(nodeOfRank: communicator.nodes.nodeOfRank, stages: 1)
    let order = grid.ranks(ofStage: 0)
    let layouts = (0..<ranks).map {
      GradientLayout(lanes: assignment.lanes(of: $0), parts: [(0..<count, 1)])
    }
    let replica = grid.replica(of: communicator.rank)
    layout = layouts[replica]
    memory = try communicator.shareNodeMemory(count: layout.count, "gradients")
    ownership = OwnershipMap(sections: [0..<count], stageOfSection: [0], ranksOfStage: [order])
    let isAlone = communicator.nodes.count == 1
    let leads = communicator.nodeRanks[0] == communicator.rank
    sums = isAlone ? nil : try communicator.shareNodeMemory(count: leads ? count : 0, "sums")
    spread =
      isAlone
      ? nil
      : WeightSpread(communicator: communicator, ownership: ownership, usersOfSection: [[0]])
    gradientExchange = GradientExchange(
      communicator: communicator,
      group: ExchangeGroup(
        ranks: order, nodeOfRank: communicator.nodes.nodeOfRank, replica: replica),
      stage: 0, layouts: layouts, memory: memory,
      counters: try communicator.shareNodeCounters(count: 1),
      ownership: ownership, completionOrder: [0])
  }

  func fill() { memory.vector(of: communicator.rank).fill(1) }

  /// Every rank of the node can read the whole sum afterwards, where its owners left it.
  func exchange() throws(Failure) {
    step += 1
    try gradientExchange.begin(step: step)
    try gradientExchange.completed(section: 0)
    try gradientExchange.finish()
    guard let spread, let sums else { return try communicator.nodeBarrier() }
    let all = sums.vector(of: communicator.nodeRanks[0])
    try spread.begin(all)
    for bucket in ownership.buckets {
      for span in ownership.spans(of: communicator.rank) where bucket.spans.contains(span) {
        all[span].copy(from: gradientExchange.gradient(span))
        try spread.send(span, of: bucket, all)
      }
    }
    try spread.finish()
  }
}
