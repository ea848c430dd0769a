import Core
import Messaging
import Parallelism
import Tensors

extension StepEngine {
  /// A digest of all weights: that of the digests of their sections, each taken by a rank that
  /// updates the section, so that no rank needs to have them all.
  ///
  /// Collective.
  func weightsDigest() throws(Failure) -> Digest {
    let hashers = plan.sections.indices.map { section in
      let ranks = plan.grid.ranks(ofStage: plan.stageOfSection[section])
      return ranks[section % ranks.count]
    }
    var own: [Digest] = []
    for (section, hasher) in hashers.enumerated() where hasher == communicator.rank {
      own.append(Digest(of: weights[plan.sections[section]].bytes))
    }
    let digestLength = 32
    let all = try communicator.allGather(bytes: own.flatMap { Array($0.description.utf8) })
    var next = [Int](repeating: 0, count: all.count)
    let ordered = hashers.flatMap { rank in
      next[rank] += digestLength
      return all[rank].dropFirst(next[rank] - digestLength).prefix(digestLength)
    }
    return Digest(of: ordered)
  }
}
