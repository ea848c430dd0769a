import Core
import Layers
import Messaging
import Tensors

/// Compares the copies of the weights: those of different nodes with each other, and each owner's
/// memory with what the owner wrote last. Copies that differ are broken memory or a program error.
///
/// The ranks of a node share the work. What has changed is found if it happened between
/// `remember` and `compare`; an update in between makes a changed weight an ordinary one.
package final class ReplicaCheck {
  /// A part of a tensor that has a digest of its own, so that large tensors are shared by ranks.
  private struct Piece {
    let tensor: String
    let range: Range<Int>
    /// The stages that compute with it.
    let users: [Int]
  }

  private let communicator: any Communicator
  private let pieces: [Piece]
  /// The pieces each node has, by node.
  private let piecesOfNode: [[Int]]
  /// Parts of tensors that this rank updates.
  private let owned: [(tensor: Int, range: Range<Int>)]
  private let tensors: [String]
  /// Of the owned parts, as they were written.
  private var written: [Digest] = []

  private static let pieceCount = 1 << 20

  /// - Parameters:
  ///   - usersOfSection: the stages that compute with the weights of a section.
  ///   - stageOfRank: of all ranks of the job.
  ///   - ownedSpans: what this rank updates.
  package init(
    communicator: any Communicator, layout: ParameterLayout, usersOfSection: [[Int]],
    stageOfRank: [Int], ownedSpans: [Range<Int>]
  ) {
    self.communicator = communicator
    let sections = layout.sections
    var pieces: [Piece] = []
    for entry in layout.entries {
      let section = sections.firstIndex { $0.range.contains(entry.offset) } ?? 0
      for start in stride(from: 0, to: entry.count, by: Self.pieceCount) {
        let end = min(entry.count, start + Self.pieceCount)
        pieces.append(
          Piece(
            tensor: entry.name, range: entry.offset + start..<entry.offset + end,
            users: usersOfSection[section]))
      }
    }
    self.pieces = pieces
    let nodes = communicator.nodes
    piecesOfNode = (0..<nodes.count).map { node in
      let stages = Set(nodes.ranks(of: node).map { stageOfRank[$0] })
      return pieces.indices.filter { !stages.isDisjoint(with: pieces[$0].users) }
    }
    tensors = layout.entries.map(\.name)
    owned = ownedSpans.flatMap { span in
      layout.entries.indices.filter { layout.entries[$0].range.overlaps(span) }
        .map { ($0, layout.entries[$0].range.clamped(to: span)) }
    }
  }

  /// Whether this rank knows what it wrote last.
  package var remembers: Bool { !written.isEmpty || owned.isEmpty }

  /// Notes what this rank owns, right after it was written.
  package func remember(_ weights: Vector) {
    written = owned.map { Digest(of: weights[$0.range].bytes) }
  }

  /// What was noted is no longer what lies in memory.
  package func forget() { written = [] }

  /// Collective, when nobody writes weights.
  ///
  /// Throws: `Failure` (.outOfLockstep), the same on every rank, which names ranks and tensor.
  package func compare(_ weights: Vector, step: Int) throws(Failure) {
    try communicator.declare("the comparison of the weights in step \(step)")
    let all = try communicator.allGather(bytes: report(weights))
    var changed: [(rank: Int, tensor: Int)] = []
    for (rank, bytes) in all.enumerated() {
      let expected = 8 + 16 * share(of: rank).count
      guard bytes.count == expected else {
        throw Failure(
          .outOfLockstep,
          "step \(step): expected \(expected) bytes of digests from rank \(rank), found"
            + " \(bytes.count): it does something else; LOCKSTEP_CHECK=1 says what")
      }
      let tensor = bytes.withUnsafeBytes { $0.loadUnaligned(as: Int64.self) }
      if tensor >= 0 { changed.append((rank, Int(tensor))) }
    }
    if let first = changed.first {
      throw Failure(
        .outOfLockstep,
        "step \(step): weights changed in memory after they were written, found by"
          + " \(Self.naming(changed.map(\.rank))), first in tensor \(tensors[first.tensor]);"
          + " nothing of this state is saved, the newest checkpoint is valid; test that memory")
    }
    try compareCopies(digests(all), step)
  }

  /// The first own tensor that changed, or -1, then the digests of this rank's share of the
  /// node's pieces.
  private func report(_ weights: Vector) -> [UInt8] {
    let changed = zip(owned, written).first { part, digest in
      Digest(of: weights[part.range].bytes) != digest
    }
    var bytes = withUnsafeBytes(of: Int64(changed?.0.tensor ?? -1)) { Array($0) }
    for index in share(of: communicator.rank) {
      let digest = Digest(of: weights[pieces[index].range].bytes)
      withUnsafeBytes(of: (digest.high, digest.low)) { bytes += $0 }
    }
    return bytes
  }

  /// The pieces a rank computes digests of.
  private func share(of rank: Int) -> [Int] {
    let nodes = communicator.nodes
    let node = nodes.nodeOfRank[rank]
    // One copy in the whole job has nothing to be compared with.
    guard nodes.count > 1 else { return [] }
    let ranks = nodes.ranks(of: node)
    let place = ranks.firstIndex(of: rank) ?? 0
    let own = piecesOfNode[node]
    return own.indices.filter { $0 % ranks.count == place }.map { own[$0] }
  }

  /// By piece, the digest of each node that has it.
  private func digests(_ reports: [[UInt8]]) -> [[(node: Int, digest: Digest)]] {
    var result = [[(node: Int, digest: Digest)]](repeating: [], count: pieces.count)
    for (rank, bytes) in reports.enumerated() {
      for (place, index) in share(of: rank).enumerated() {
        let digest = bytes.withUnsafeBytes { raw in
          Digest(
            high: raw.loadUnaligned(fromByteOffset: 8 + place * 16, as: UInt64.self),
            low: raw.loadUnaligned(fromByteOffset: 16 + place * 16, as: UInt64.self))
        }
        result[index].append((communicator.nodes.nodeOfRank[rank], digest))
      }
    }
    return result
  }

  private func compareCopies(
    _ digests: [[(node: Int, digest: Digest)]], _ step: Int
  ) throws(Failure) {
    for (piece, copies) in zip(pieces, digests) {
      guard let first = copies.first, copies.contains(where: { $0.digest != first.digest })
      else { continue }
      let groups = Dictionary(grouping: copies, by: \.digest).values
      let majority = groups.first { $0.count * 2 > copies.count }
      let odd = copies.filter { $0.digest != majority?[0].digest }.map(\.node).sorted()
      let names = odd.map { Self.naming(communicator.nodes.ranks(of: $0)) }
      throw Failure(
        .outOfLockstep,
        "step \(step): the copies of the weights differ: "
          + (majority == nil
            ? "those of \(names.joined(separator: " and of ")), none of which is a majority"
            : "that of \(names.joined(separator: " and of ")) from the \(majority?.count ?? 0)"
              + " others")
          + ", first in tensor \(piece.tensor); nothing of this state is saved, the newest"
          + " checkpoint is valid; test that memory")
    }
  }

  private static func naming(_ ranks: [Int]) -> String {
    (ranks.count == 1 ? "rank " : "ranks ") + ranks.map(String.init).joined(separator: ", ")
  }
}
