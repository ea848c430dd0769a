import Foundation
import Testing

/// MPI starts once a process and never inside the test runner: the probe runs under mpirun.
@Suite(.serialized) struct MPICommunicatorTests {
  @Test(arguments: [1, 2, 3, 5]) func everyOperationGivesWhatItMust(ranks: Int) throws {
    let outcome = try Probe.mpirun(ranks, ["check"])
    #expect(outcome.exitCode == 0, "\(outcome.error)")
    #expect(outcome.output.split(separator: "\n").count == ranks)
  }

  @Test(arguments: [(2, 1_000), (3, 1), (3, 997), (5, 1_000)])
  func piecesChangeNothing(ranks: Int, pieceLimit: Int) throws {
    let outcome = try Probe.mpirun(ranks, ["check", String(pieceLimit)])
    #expect(outcome.exitCode == 0, "\(outcome.error)")
    #expect(outcome.output.split(separator: "\n").count == ranks)
  }

  @Test func anAbortingRankTakesTheJobDownWithItsCode() throws {
    #expect(try Probe.mpirun(3, ["abort"]).exitCode == 80)
  }

  @Test func anErrorOfMPICarriesOperationRankAndText() throws {
    let outcome = try Probe.mpirun(2, ["truncate"])
    #expect(outcome.exitCode == 70)
    #expect(outcome.error.contains("on rank"))
    #expect(outcome.error.contains("MPI_ERR_TRUNCATE"), "\(outcome.error)")
  }

  @Test func aMessageToItselfIsCheckedToo() throws {
    let outcome = try Probe.mpirun(1, ["truncate"])
    #expect(outcome.exitCode == 70)
    #expect(outcome.error.contains("sends [5] floats and expects [3]"), "\(outcome.error)")
  }

  @Test func everyRankCanBeANodeOfItsOwn() throws {
    let outcome = try Probe.mpirun(3, ["separated"])
    #expect(outcome.exitCode == 0, "\(outcome.error)")
    #expect(outcome.output.split(separator: "\n").count == 3)
  }

  @Test func theRanksOfAMachineAreOneNode() throws {
    #expect(try Probe.mpirun(4, ["layout"]).output == "layout 4\n")
  }

  @Test func memoryNobodyTouchesIsNotThere() throws {
    let outcome = try Probe.mpirun(2, ["sparse"])
    #expect(outcome.exitCode == 0, "\(outcome.error)")
    #expect(outcome.output.split(separator: "\n").count == 2)
  }

  /// As the first piece fits and is never written, only a sum of what was promised can tell.
  /// The folder a supervisor has made for the job is gone when somebody reads that.
  @Test func moreMemoryThanThereIsIsSaidByEveryRank() throws {
    let folder = "/dev/shm/messaging-tests-\(UUID().uuidString)"
    try #require(mkdir(folder, 0o700) == 0)
    defer { rmdir(folder) }
    let outcome = try Probe.mpirun(
      3, ["room"], environment: ["OMPI_MCA_osc_sm_backing_directory": folder])
    #expect(outcome.exitCode == 73)
    let lines = outcome.output.split(separator: "\n")
    #expect(lines.count == 3, "\(outcome.output)")
    for line in lines {
      #expect(line.contains(": /dev/shm on ") && line.contains("the second needs"), "\(line)")
      #expect(line.contains("shared by the 3 ranks") && line.contains("MiB are free"), "\(line)")
      #expect(line.contains("parallel.exchange=messages"), "\(line)")
    }
  }

  /// Two messages are awaited at once and one of them has come.
  @Test func aLongWaitNamesOnlyWhoIsLate() throws {
    let outcome = try Probe.mpirun(3, ["late"])
    #expect(outcome.exitCode == 0, "\(outcome.error)")
    #expect(
      outcome.output
        == "rank 0, step 0: has waited 2 s for messages: rank 2 has not arrived\n")
  }

  @Test func aForgottenTransferIsAnError() throws {
    let outcome = try Probe.mpirun(2, ["unfinished"])
    #expect(outcome.exitCode == 70)
    #expect(outcome.error.contains("1 started exchanges were never waited for"))
  }

  @Test func checksChangeNothing() throws {
    let outcome = try Probe.mpirun(3, ["separated"], environment: ["LOCKSTEP_CHECK": "1"])
    #expect(outcome.exitCode == 0, "\(outcome.error)")
    #expect(outcome.output.split(separator: "\n").count == 3)
  }

  @Test(arguments: [
    ("broadcast", "barrier", "rank 1 calls barrier, rank 0 calls broadcast from 0"),
    ("agree", "gather", "rank 1 calls allGather of bytes, rank 0 calls agree"),
    (
      "sum2", "sum3",
      "rank 1 calls allReduceSum of 3 floats, rank 0 calls allReduceSum of 2 floats"
    ),
    (
      "weights", "gradients",
      "rank 1 calls shareNodeMemory of gradients, rank 0 calls shareNodeMemory of weights"
    ),
    ("counters", "nodeBarrier", "rank 1 calls nodeBarrier, rank 0 calls shareNodeCounters"),
    (
      "exchange1", "exchange2",
      "rank 1 calls exchange 2 of 5 floats, rank 0 calls exchange 1 of 5 floats"
    ),
    ("finish", "barrier", "rank 1 calls barrier, rank 0 calls finish"),
  ])
  func differentCallsAreNamedWithBoth(first: String, second: String, message: String) throws {
    let outcome = try Probe.mpirun(
      3, ["different", first, second], environment: ["LOCKSTEP_CHECK": "1"])
    #expect(outcome.exitCode == 76)
    #expect(outcome.error.contains(message), "\(outcome.error)")
  }
}
