import Foundation
import Synchronization
import Testing

extension SlurmTests {
  /// Every launcher, on one, two and three nodes, with every way in which a job may end; prints the
  /// table of `Sources/Guide/Clusters.md`.
  @Suite(
    .serialized, .enabled(if: SlurmCluster.wanted == "all", "matrix: only with launch/test --all"))
  struct Matrix {
    struct Case: Sendable, CustomTestStringConvertible {
      let launcher: SlurmTrial.Launcher
      let nodes: Int
      let way: SlurmWay

      var testDescription: String { "\(launcher.rawValue), \(nodes), \(way.rawValue)" }
    }

    /// The node with the batch script cannot be the one that is cut off. `LOCKSTEP_WAYS` names the
    /// ways to be tried, separated by commas; by default all.
    static let cases: [Case] = {
      let named = ProcessInfo.processInfo.environment["LOCKSTEP_WAYS"]
      let ways = SlurmWay.allCases.filter { way in
        named.map { $0.split(separator: ",").contains { "\(way)" == $0 } } ?? true
      }
      return ways.flatMap { way in
        SlurmTrial.Launcher.allCases.flatMap { launcher in
          (1...3).map { Case(launcher: launcher, nodes: $0, way: way) }
        }
      }.filter { $0.way != .linkCut || $0.nodes > 1 }
    }()

    private static let hasHeader = Mutex(false)

    private func row(_ cells: [String]) {
      FileHandle.standardError.write(Data("| \(cells.joined(separator: " | ")) |\n".utf8))
    }

    private func header() {
      Self.hasHeader.withLock { has in
        guard !has else { return }
        has = true
        let heads = [
          "what happens", "launcher", "nodes", "said", "code", "saved", "ended after",
          "going on after", "job", "bits",
        ]
        row(heads)
        row(heads.map { _ in "---" })
      }
    }

    @Test(arguments: cases) func theRunComesToTheSameBits(_ this: Case) throws {
      let way = this.way
      let trial = try SlurmTrial(this.launcher, nodes: this.nodes, isLong: way.isLong)
      let job = try trial.submit(way.options, spare: way.spareNodes)
      try trial.waitForStep(of: job)
      let disturbed = Date.now
      try way.happen(to: trial, job)
      var last = job
      var facts = try trial.end(of: job, within: 300, mayLinger: way == .stepDaemonKilled)
      let firstEnd = facts
      if way == .timeLimit { #expect(facts["Restarts"] != "0", "it was done before its time") }
      if way != .cancelled, way != .stepDaemonKilled {
        #expect(facts["JobState"] == "COMPLETED", "\(job.text)")
      }
      if facts["JobState"] != "COMPLETED" {
        // The same command goes on.
        try trial.expectNothingLeft()
        last = try trial.submit()
        facts = try last.waitForEnd(within: 200)
        #expect(facts["JobState"] == "COMPLETED", "\(last.text)")
      }
      try trial.expectNothingLeft()
      try trial.expectTruth()
      try trial.expectUndisturbed()
      let ends = try SlurmEnd.all(of: trial.run)
      let deaths = try SlurmEnd.deaths(of: trial.run)
      if way.isSurvived {
        #expect(firstEnd["Restarts"] == "0")
        #expect(ends.map(\.code) == [0])
      }
      report(
        this, disturbed, firstEnd, ends, deaths, goneOn: try trial.goneOn(),
        isSame: try trial.isUndisturbed)
    }

    private func report(
      _ this: Case, _ disturbed: Date, _ facts: [String: String], _ ends: [SlurmEnd],
      _ deaths: [SlurmEnd], goneOn: Date?, isSame: Bool
    ) {
      header()
      let end = ends.first { $0.code != 0 } ?? deaths.first
      func seconds(_ moment: Date?) -> String {
        guard this.way != .timeLimit else { return "-" }
        return moment.map {
          "\(($0.timeIntervalSince(disturbed) * 10).rounded() / 10) s"
        } ?? "-"
      }
      row([
        this.way.rawValue, this.launcher.rawValue, "\(this.nodes)",
        end?.reason ?? (goneOn == nil ? "nothing: not noticed" : "nothing: all is gone at once"),
        end?.code.map(String.init) ?? "-", end?.savedStep.map(String.init) ?? "-",
        seconds(end?.at), seconds(goneOn),
        "\(facts["JobState"] ?? ""), \(facts["Restarts"] ?? "") restarts",
        isSame ? "the same" : "OTHERS",
      ])
    }
  }
}
