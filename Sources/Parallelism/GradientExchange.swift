import Core
import Foundation
import Messaging
import Tensors

/// Sums the lane gradients of all replicas of a stage, each owner its spans, in the order of the
/// lane tree: inside a node by reading the neighbours' memory, between nodes by messages.
///
/// A step: `begin`, `completed(section:)` for every section as soon as its gradient is there, then
/// `finish`. The sum is the same to the last bit for every number of replicas and nodes, because a
/// node sends the canonical nodes of its lanes and only the owner adds them up.
package final class GradientExchange {
  /// Messages of a bucket that are under way, and the memory they use.
  private struct Flight {
    var sends: (any PendingTransfers)?
    var receives: (any PendingTransfers)?
  }

  /// Another node's contribution to the spans of this rank.
  private struct Peer {
    let replicas: Range<Int>
    let nodes: [LaneTree.Node]
  }

  private let usesMPI: Bool
  private let parameterCount: Int
  private let communicator: any Communicator
  private let group: ExchangeGroup
  private let layouts: [GradientLayout]
  private let memory: NodeMemory
  private let counters: NodeCounters
  /// Of this stage, in the order in which their gradients complete.
  private let buckets: [OwnershipMap.Bucket]
  private let peers: [Peer]
  /// From the nodes of all replicas here to those of this computer's lanes.
  private let localSum: TreeSum
  /// From the nodes of this and all other computers to the root.
  private let finalSum: TreeSum
  private let sendBuffer: FloatBuffer
  private let receiveBuffer: FloatBuffer
  private let scratch: FloatBuffer
  private var flights: [Flight]
  private var step = 0
  private var sent = 0
  private var summed = 0
  /// A test wants this rank to stay away from the exchange of this step.
  private var isSkipped = false
  private var chunkSumsOfBucket: [[Double]]

  /// How many buckets are between nodes at once.
  private static let window = 4
  static let channel = 1

  /// - Parameters:
  ///   - layouts: how the gradients of each replica lie, in replica order.
  ///   - memory: the gradients of the ranks of this node.
  ///   - counters: one a section of the model; they say which sections are complete.
  ///   - completionOrder: the sections of this stage in the order in which they complete.
  ///   - usesMPI: leaves the sum to `MPI_Allreduce`, in whatever order it takes: for comparison.
  package init(
    communicator: any Communicator, group: ExchangeGroup, stage: Int, layouts: [GradientLayout],
    memory: NodeMemory, counters: NodeCounters, ownership: OwnershipMap, completionOrder: [Int],
    usesMPI: Bool = false
  ) {
    self.usesMPI = usesMPI
    parameterCount = ownership.parameterCount
    self.communicator = communicator
    self.group = group
    self.layouts = layouts
    self.memory = memory
    self.counters = counters
    buckets = completionOrder.flatMap { section in
      ownership.buckets.filter { $0.section == section && $0.stage == stage }
    }
    let nodesOfReplica = layouts.map { $0.parts[0].plan.nodes.map(\.node) }
    func sum(_ replicas: Range<Int>) -> TreeSum {
      TreeSum(sources: replicas.flatMap { nodesOfReplica[$0] })
    }
    localSum = sum(group.neighbours)
    peers = group.nodes.indices.filter { $0 != group.node }.map { index in
      Peer(replicas: group.nodes[index], nodes: sum(group.nodes[index]).results.map(\.node))
    }
    finalSum = TreeSum(
      sources: group.nodes.indices.flatMap { index in
        index == group.node
          ? group.neighbours.flatMap { nodesOfReplica[$0] }
          : sum(group.nodes[index]).results.map(\.node)
      })
    precondition(finalSum.results.count == 1, "the replicas hold all lanes")
    let largest = buckets.map(\.range.count).max() ?? 0
    let largestSpan = buckets.map { $0.spans[group.replica].count }.max() ?? 0
    let sums = localSum.results.filter { $0.source == nil }.count
    let window = min(Self.window, buckets.count)
    sendBuffer = FloatBuffer(
      count: peers.isEmpty ? 0 : window * sums * (largest / group.neighbours.count + 64))
    receiveBuffer = FloatBuffer(
      count: window * largestSpan * peers.map(\.nodes.count).reduce(0, +))
    scratch = FloatBuffer(count: max(localSum.scratchSize, finalSum.scratchSize))
    flights = Array(repeating: Flight(), count: buckets.count)
    chunkSumsOfBucket = Array(repeating: [], count: buckets.count)
  }

  /// What the exchange occupies beside the gradients.
  package var byteCount: Int {
    (sendBuffer.count + receiveBuffer.count + scratch.count) * MemoryLayout<Float>.stride
  }

  /// Starts a step: from now on other nodes' sums may arrive.
  ///
  /// - Parameter step: higher than the one before, by any number.
  package func begin(step: Int) throws(Failure) {
    precondition(step > self.step, "steps are counted upwards")
    self.step = step
    sent = 0
    summed = 0
    isSkipped = false
    flights = Array(repeating: Flight(), count: buckets.count)
    guard !usesMPI else { return }
    try communicator.declare("exchange of step \(step), \(parameterCount) parameters")
    for index in buckets.indices.prefix(Self.window) { try receive(index) }
  }

  /// Tells that the gradient of a section is complete in all lanes of this replica, and does what
  /// of the exchange can be done without waiting.
  package func completed(section: Int) throws(Failure) {
    if section == buckets.first?.section {
      isSkipped = FaultPoint.exchange.reached(step: step) == .skip
    }
    guard !usesMPI, !isSkipped else { return }
    counters.publish(section, step)
    try advance()
  }

  /// Returns when the sums of all own spans are there.
  package func finish() throws(Failure) {
    if isSkipped { return }
    guard !usesMPI else { return try finishWithMPI() }
    var idle = 0
    var told = Stopwatch()
    defer { communicator.waits.end() }
    while true {
      if idle == 0 {
        communicator.waits.begin(.gradientExchange, summed)
        told = Stopwatch()
      }
      let before = (sent, summed)
      try advance()
      if summed == buckets.count, try sendsAreDone() { return }
      idle = before == (sent, summed) ? idle + 1 : 0
      // More ranks than cores: whoever is waited for may need this one.
      if idle > 100 { sched_yield() }
      if idle % 64 == 63, told.seconds > 0.5 {
        try tellWhoIsMissing()
        told = Stopwatch()
      }
    }
  }

  /// Says where a long wait stands, for the line about it.
  private func tellWhoIsMissing() throws(Failure) {
    let index = min(summed, buckets.count - 1)
    let section = buckets[min(sent, buckets.count - 1)].section
    var missing = group.neighbours.map { group.ranks[$0] }
      .filter { counters.value(section, of: $0) < step }
    for flight in flights where missing.isEmpty {
      missing = try flight.receives?.missingRanks() ?? []
      if missing.isEmpty { missing = try flight.sends?.missingRanks() ?? [] }
    }
    communicator.waits.found(
      place: "bucket \(index) of \(buckets.count), section \(buckets[index].section)",
      missing: missing)
  }

  /// The summed gradient of one of this rank's spans, after `finish` and until the next step.
  package func gradient(_ span: Range<Int>) -> Vector {
    ownNodes(span)[0].gradient
  }

  /// The sums of squares of the own chunks in the order of the parameters, after `finish`.
  package var chunkSums: [Double] {
    buckets.indices.sorted { buckets[$0].range.lowerBound < buckets[$1].range.lowerBound }
      .flatMap { chunkSumsOfBucket[$0] }
  }

  // MARK: Progress

  private func advance() throws(Failure) {
    while sent < buckets.count, isComplete(buckets[sent].section) {
      if sent >= Self.window, try flights[sent - Self.window].sends?.isDone() == false { break }
      try send(sent)
      sent += 1
    }
    while summed < sent {
      if try flights[summed].receives?.isDone() == false { break }
      sum(summed)
      flights[summed].receives = nil
      if summed + Self.window < buckets.count { try receive(summed + Self.window) }
      summed += 1
    }
  }

  /// Sums the replica's own nodes from left to right and gives the rest to MPI, bucket by bucket.
  private func finishWithMPI() throws(Failure) {
    for (index, bucket) in buckets.enumerated() {
      let nodes = ownNodes(bucket.range)
      for node in nodes.dropFirst() {
        add(nodes[0].gradient, node.gradient, into: nodes[0].gradient)
      }
      try communicator.allReduceSum(nodes[0].gradient)
      chunkSumsOfBucket[index] = chunkSumsOfSquares(gradient(bucket.spans[group.replica]))
    }
  }

  private func sendsAreDone() throws(Failure) -> Bool {
    for index in buckets.indices.suffix(Self.window) {
      if try flights[index].sends?.isDone() == false { return false }
    }
    return true
  }

  /// Whether every replica of this node has its part of a section.
  private func isComplete(_ section: Int) -> Bool {
    group.neighbours.allSatisfy { counters.value(section, of: group.ranks[$0]) >= step }
  }

  // MARK: Sums and messages

  private func nodes(
    _ replica: Int, _ range: Range<Int>
  ) -> [(node: LaneTree.Node, gradient: Vector)] {
    layouts[replica].nodes(range, in: memory.vector(of: group.ranks[replica]))
  }

  private func ownNodes(_ range: Range<Int>) -> [(node: LaneTree.Node, gradient: Vector)] {
    nodes(group.replica, range)
  }

  private func localSources(_ range: Range<Int>) -> [Vector] {
    group.neighbours.flatMap { nodes($0, range).map(\.gradient) }
  }

  /// Sends this rank's share of the node's sums to their owners on other nodes.
  private func send(_ index: Int) throws(Failure) {
    guard !peers.isEmpty else { return }
    var used = index % Self.window * (sendBuffer.count / min(Self.window, buckets.count))
    var transfers: [Transfer] = []
    for peer in peers {
      for owner in peer.replicas {
        let share = group.share(of: buckets[index].spans[owner], for: group.replica)
        guard !share.isEmpty else { continue }
        let sources = localSources(share)
        let targets = localSum.results.map { result in
          if let source = result.source { return sources[source] }
          used += share.count
          return sendBuffer.view[used - share.count..<used]
        }
        localSum.run(sources, into: targets, scratch: scratch.view)
        for target in targets { transfers.append(.send(target, to: group.ranks[owner])) }
      }
    }
    flights[index].sends = try communicator.start(transfers, channel: Self.channel)
  }

  private func receive(_ index: Int) throws(Failure) {
    guard !peers.isEmpty else { return }
    let span = buckets[index].spans[group.replica]
    var transfers: [Transfer] = []
    for (peer, places) in zip(peers, received(index)) {
      for replica in peer.replicas {
        let share = group.share(of: span, for: replica)
        guard !share.isEmpty else { continue }
        let local = share.lowerBound - span.lowerBound
        for place in places {
          transfers.append(
            .receive(into: place[local..<local + share.count], from: group.ranks[replica]))
        }
      }
    }
    flights[index].receives = try communicator.start(transfers, channel: Self.channel)
  }

  /// Where the nodes of the own span arrive, by peer and node.
  private func received(_ index: Int) -> [[Vector]] {
    let count = buckets[index].spans[group.replica].count
    var used = index % Self.window * (receiveBuffer.count / min(Self.window, buckets.count))
    return peers.map { peer in
      peer.nodes.map { _ in
        used += count
        return receiveBuffer.view[used - count..<used]
      }
    }
  }

  /// Adds up the own span of a bucket; the sum lies where the first own node lay.
  private func sum(_ index: Int) {
    let span = buckets[index].spans[group.replica]
    guard !span.isEmpty else {
      chunkSumsOfBucket[index] = []
      return
    }
    var others = received(index).makeIterator()
    let sources = group.nodes.indices.flatMap { node in
      node == group.node ? localSources(span) : others.next() ?? []
    }
    let target = gradient(span)
    var sums: [Double] = []
    for start in stride(from: 0, to: span.count, by: reductionChunkCount) {
      let chunk = start..<min(span.count, start + reductionChunkCount)
      var squares = SquareSum()
      finalSum.run(
        sources.map { $0[chunk] }, into: target[chunk], scratch: scratch.view, squares: &squares)
      sums.append(squares.total)
    }
    chunkSumsOfBucket[index] = sums
  }
}
