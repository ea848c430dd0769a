import Foundation
import Testing

/// A way in which a job of Slurm ends, or nearly.
enum SlurmWay: String, CaseIterable, Sendable, CustomTestStringConvertible {
  case timeLimit = "time limit"
  case cancelled = "scancel"
  case userSignal = "scancel --signal=USR1 --batch"
  case requeued = "scontrol requeue"
  case preempted = "preempted, no grace"
  case preemptedWithGrace = "preempted, 60 s of grace"
  case nodeDown = "node set down"
  case daemonKilled = "slurmd killed"
  case stepDaemonKilled = "slurmstepd killed"
  case linkCut = "link cut, spare node"
  case killedRank = "rank killed"
  case frozenRank = "rank frozen"

  var testDescription: String { rawValue }

  /// Whether the run must take longer than a minute for it.
  var isLong: Bool { self == .timeLimit || self == .preemptedWithGrace }

  var spareNodes: Int { self == .linkCut ? 1 : 0 }

  var options: [String] {
    switch self {
    case .timeLimit: ["--time=1"]
    case .preemptedWithGrace: ["--partition=grace"]
    case .linkCut: ["--no-kill"]
    default: []
    }
  }

  /// Whether the job goes on without an end of its own, and must come to 0 by itself.
  var isSurvived: Bool {
    switch self {
    case .daemonKilled, .linkCut, .killedRank, .frozenRank: true
    case .timeLimit, .cancelled, .userSignal, .requeued, .preempted, .preemptedWithGrace,
      .nodeDown, .stepDaemonKilled:
      false
    }
  }

  /// Does it to a job that trains.
  func happen(to trial: SlurmTrial, _ job: SlurmJob) throws {
    let cluster = trial.cluster
    switch self {
    case .timeLimit: break
    case .cancelled: try job.cancel()
    case .userSignal: try job.cancel("--signal=USR1", "--batch")
    case .requeued:
      try #require(try cluster.user(["scontrol", "requeue", job.number]).exitCode == 0)
    case .preempted, .preemptedWithGrace:
      let all = "--nodes=\(SlurmCluster.nodeCount)"
      let urgent = ["sbatch", "--partition=high", all, "--exclusive", "--output=/dev/null"]
      try #require(try cluster.user(urgent + ["--wrap=sleep 1"]).exitCode == 0)
    case .nodeDown:
      let node = "nodename=n\(try trial.lastRank().node)"
      try cluster.administrator("scontrol", "update", node, "state=down", "reason=test")
      try job.wait(for: ["PENDING", "RUNNING", "COMPLETED", "FAILED", "NODE_FAIL"])
      try cluster.administrator("scontrol", "update", node, "state=resume")
    case .daemonKilled:
      let node = String(try trial.lastRank().node)
      try cluster.control("kill-slurmd", node)
      try trial.waitForStep(SlurmTrial.disturbedStep + 200, of: job)
      try cluster.control("start-slurmd", node)
    case .stepDaemonKilled: try cluster.control("kill-stepds", String(trial.lastRank().node))
    case .linkCut: try cluster.control("cut", String(trial.lastRank().node))
    case .killedRank: kill(try trial.lastRank().process, SIGKILL)
    case .frozenRank: kill(try trial.lastRank().process, SIGSTOP)
    }
  }
}
