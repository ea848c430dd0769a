import Core

/// What a seed draws: how the run is laid out, who dies, and where.
struct ChaosTrial: CustomStringConvertible {
  /// Who dies: a rank by itself at a named point, or somebody else while one of the ranks stands
  /// still at that point.
  enum Victim: String, CaseIterable {
    case rank, mpirun, supervisor
    /// Of host 1: mpirun's daemon, every process, the link.
    case daemon, host, link

    var needsHosts: Bool { [.daemon, .host, .link].contains(self) }

    /// What is quick is drawn often: of fifty draws.
    var share: Int {
      switch self {
      case .rank: 31
      case .mpirun, .supervisor: 7
      case .daemon, .host: 2
      case .link: 1
      }
    }
  }

  static let steps = 40
  /// Evaluations and saves are due after multiples of these, the last of both after the last step.
  static let evaluationInterval = 10
  static let saveInterval = 4

  let seed: Int
  let victim: Victim
  /// The victim and, of a rank, how it dies.
  let kind: String
  /// On this machine; of each host where hosts are needed.
  let ranks: [Int]
  let layout: [String]
  /// As in `LOCKSTEP_FAULT`.
  let faults: String

  init(seed: Int) {
    var draw = Draw(seed: seed)
    self.seed = seed
    victim = draw.victim()
    let layouts: [([Int], [String])] =
      switch victim {
      // With the link goes a host, and what is left must be a layout.
      case .link: [([1, 1], []), ([2, 1], []), ([1, 2], [])]
      case .daemon, .host: [([1, 1], []), ([2, 1], []), ([1, 1], ["parallel.stages=2"])]
      case .rank, .mpirun, .supervisor:
        [
          ([1], []), ([2], []), ([3], []), ([2], ["parallel.stages=2"]),
          ([4], ["parallel.stages=2"]), ([2], ["parallel.exchange=messages"]),
          ([4], ["parallel.stages=4"]),
        ]
      }
    (ranks, layout) = layouts[draw.below(layouts.count)]
    let rankCount = ranks.reduce(0, +)
    if victim == .rank {
      let actions = ["kill", "kill", "kill", "exit:9", "trap"]
      // One of four dies twice.
      let action = actions[draw.below(actions.count)]
      kind = "rank: " + action.prefix { $0 != ":" }
      faults = (1...1 + draw.below(4) / 3).map { launch in
        draw.fault(action, ranks: rankCount, launch: launch)
      }.joined(separator: ",")
    } else {
      kind = victim.rawValue
      faults = draw.fault("stop", ranks: rankCount, launch: 1)
    }
  }

  /// Where the first fault is to happen.
  var point: String { String(faults.prefix { $0 != ":" }) }

  var description: String {
    "seed \(seed): ranks \(ranks) \(layout), \(victim), LOCKSTEP_FAULT=\(faults)"
  }

  /// Numbers of one seed.
  private struct Draw {
    private let random: RandomStream
    private var count = 0

    init(seed: Int) { random = RandomStream(seed: UInt64(seed), purpose: .synthesis, site: 99) }

    mutating func below(_ bound: Int) -> Int {
      count += 1
      return Int(random.bits(at: count) % UInt64(bound))
    }

    mutating func victim() -> Victim {
      var rest = below(Victim.allCases.map(\.share).reduce(0, +))
      for victim in Victim.allCases {
        if rest < victim.share { return victim }
        rest -= victim.share
      }
      return .rank
    }

    mutating func fault(_ action: String, ranks: Int, launch: Int) -> String {
      let points = FaultPoint.allCases
      let point = points[below(points.count)]
      let step =
        switch point {
        case .start: 0
        case .evaluate: evaluationInterval * (1 + below(steps / evaluationInterval - 1))
        // The first and the last: those between are left out while another save is under way.
        case .save, .write, .publish: [-1, steps][below(2)]
        case .load, .forward, .backward, .exchange, .update: 1 + below(steps - 2)
        }
      let rank = below(ranks)
      return "\(point):\(step):\(point == .publish ? 0 : rank):\(action)@\(launch)"
    }
  }
}
