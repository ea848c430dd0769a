import Core
import Foundation
import Supervision
import Testing

@Suite struct SlurmTests {
  /// As Slurm 22.05 said them.
  @Test func whatAStepSaysOfItsRanks() {
    for (line, rank, end) in [
      ("srun: error: n2: task 1: Killed", 1, ProcessEnd.signal(SIGKILL)),
      ("srun: error: n2: tasks 2-3: Killed", 2, .signal(SIGKILL)),
      ("srun: error: n1: tasks 0,2: Terminated", 0, .signal(SIGTERM)),
      ("srun: error: n1: task 12: Segmentation fault (core dumped)", 12, .signal(SIGSEGV)),
      ("srun: error: n1: task 0: Exited with exit code 79", 0, .exit(79)),
      ("srun: error: n1: task 4: Out Of Memory", 4, .signal(SIGKILL)),
    ] {
      let ended = LauncherWords.endedTask(line)
      #expect(ended?.rank == rank && ended?.end == end, "\(line)")
    }
    for line in [
      "srun: error: n2: task one: Killed", "srun: error: n2: task 1: Bewitched",
      "srun: launch/slurm: _step_signal: Terminating StepId=2.0", "task 1: Killed", "",
    ] {
      #expect(LauncherWords.endedTask(line) == nil, "\(line)")
    }
    #expect(LauncherWords.taskOutOfMemory("srun: error: n1: tasks 4-5: Out Of Memory") == 4)
    #expect(LauncherWords.taskOutOfMemory("srun: error: n1: task 4: Killed") == nil)
    #expect(LauncherWords.taskOutOfMemory("Out Of Memory") == nil)
    #expect(LauncherWords.failedNode("srun: error: Node failure on n2") == "n2")
    #expect(LauncherWords.failedNode("srun: error: Node failure") == nil)
  }

  @Test func itsWordsAreToldFromTheRanks() {
    var words = LauncherWords()
    let text = """
      srun: error: n2: task 1: Killed
      lockstep: rank 1 says so
      slurmstepd-n1: error: *** STEP 49.0 ON n1 CANCELLED AT 2026-01-31T12:00:00 ***
      slurm is a word of mine

      """
    let launchers = words.take(Array(text.utf8)).map {
      if case .launcher = $0 { true } else { false }
    }
    #expect(launchers == [true, false, true, false])
  }

  @Test func theEndOfAJobIsSlurmsOrAskedFor() throws {
    let now = Date(timeIntervalSince1970: 1_000)
    // Without Slurm's answer a node of the job is believed, and nobody else.
    let own = ["SLURM_JOB_ID": "7", "SLURMD_NODENAME": HostName.current]
    #expect(Slurm.job(own, squeue: nil)?.isRunning == true)
    #expect(Slurm.job(["SLURM_JOB_ID": "7"], squeue: nil)?.isRunning == false)
    #expect(Slurm.job([:], squeue: nil) == nil)
    // What squeue prints stands in for it here.
    func job(_ printed: String, _ environment: [String: String] = [:]) throws -> SlurmJob {
      let path = FileManager.default.temporaryDirectory
        .appending(path: "lockstep-squeue-\(UUID().uuidString)").path
      defer { try? FileManager.default.removeItem(atPath: path) }
      try Data("#!/bin/sh\n\(printed)\n".utf8).write(to: URL(fileURLWithPath: path))
      chmod(path, 0o755)
      return try #require(
        Slurm.job(
          environment.merging(["SLURM_JOB_ID": "7", "PATH": "/bin:/usr/bin"]) { $1 }, squeue: path,
          now: now))
    }
    #expect(try !job("echo Invalid job id specified >&2; exit 1").isRunning)
    #expect(try !job("echo COMPLETED N/A").isRunning)
    #expect(try job("echo CONFIGURING NONE").isRunning)
    // What is not Slurm's word on the job leaves it to the node.
    for silent in [
      "echo slurm_load_jobs error: Unable to contact slurm controller >&2; exit 1", "true",
      "echo squeue: error: Invalid user: 99 >&2; exit 1",
    ] {
      #expect(try !job(silent).isRunning)
      let node = ["SLURMD_NODENAME": HostName.current, "SLURM_JOB_END_TIME": "1030"]
      let believed = try job(silent, node)
      #expect(believed.isRunning && believed.secondsLeft == 30, "\(silent)")
    }
    #expect(try job("echo squeue: warning: old >&2; echo RUNNING NONE").isRunning)
    let asked = try job(
      #"[ -z "$SQUEUE_STATES" ] && [ "$SLURM_TIME_FORMAT" = standard ] && echo RUNNING NONE"#,
      ["SQUEUE_STATES": "bogus", "SLURM_TIME_FORMAT": "relative"])
    #expect(asked.isRunning)
    let running = try job("echo RUNNING NONE", ["SLURM_JOB_END_TIME": "1090"])
    #expect(running.isRunning && running.secondsLeft == 90)
    #expect(try job("echo RUNNING NONE").secondsLeft == nil)
    #expect(try job("echo RUNNING 2026-01-31T12:00:00").secondsLeft ?? 0 > 1e9)
    let end = try #require(Slurm.end("2026-01-31T12:00:00\n"))
    let parts = Calendar.current.dateComponents([.day, .hour, .minute], from: end)
    #expect(parts.day == 31 && parts.hour == 12 && parts.minute == 0)
    #expect(Slurm.end("N/A") == nil && Slurm.end("NONE") == nil && Slurm.end("") == nil)
  }

  /// The last task of an array has the number of the array, which means all of its tasks.
  @Test func aTaskOfAnArrayIsNamedByTheArray() {
    #expect(Slurm.name(["SLURM_JOB_ID": "7"]) == "7")
    let task = [
      "SLURM_JOB_ID": "7", "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "3",
    ]
    #expect(Slurm.name(task) == "7_3")
    #expect(Slurm.name([:]) == nil)
  }

  @Test func aJobIsQueuedAgainFiveTimesWithoutACheckpoint() throws {
    var memory = Requeue.Memory(savedStep: 0, count: 0)
    for count in 1...Requeue.limit {
      memory = try #require(memory.next(savedStep: 0))
      #expect(memory.count == count)
    }
    #expect(memory.next(savedStep: 0) == nil)
    #expect(memory.next(savedStep: 3) == Requeue.Memory(savedStep: 3, count: 1))
    // Somebody has gone back to an older checkpoint.
    let gone = Requeue.Memory(savedStep: 1000, count: Requeue.limit)
    #expect(gone.next(savedStep: 500) == Requeue.Memory(savedStep: 500, count: 1))
    #expect(Requeue.Memory(text: memory.text) == memory)
    for text in ["", "3", "3 x", "-1 2", "1 2 3"] { #expect(Requeue.Memory(text: text) == nil) }
  }

  @Test func everySignalHasItsName() {
    #expect((1...31).allSatisfy { SignalName.text($0).hasPrefix("SIG") })
    #expect(Set((1...31).map { SignalName.text($0) }).count == 31)
    for (number, name) in [
      (SIGHUP, "SIGHUP"), (SIGKILL, "SIGKILL"), (SIGUSR1, "SIGUSR1"), (SIGUSR2, "SIGUSR2"),
      (SIGTERM, "SIGTERM"), (SIGCHLD, "SIGCHLD"), (SIGSTOP, "SIGSTOP"), (SIGXFSZ, "SIGXFSZ"),
      (SIGWINCH, "SIGWINCH"), (SIGSYS, "SIGSYS"),
    ] {
      #expect(SignalName.text(number) == name)
    }
    for number: Int32 in [34, 64, 0, -1] { #expect(SignalName.text(number) == "signal \(number)") }
  }

  @Test func whyAHostIsSilentIsSaid() {
    func reason(_ end: ProcessEnd?, _ said: String) -> String {
      HostAgent.reason(end, said: Array(said.utf8), withinSeconds: 8)
    }
    #expect(
      reason(.exit(255), "Warning: x\r\nssh: connect to host n2 port 22: Connection refused\r\n")
        == "ssh: connect to host n2 port 22: Connection refused; exit code 255")
    #expect(
      reason(.exit(127), "lockstep: error while loading shared libraries: libhdf5.so.103\n")
        == "the program does not start there: lockstep: error while loading shared libraries:"
        + " libhdf5.so.103")
    #expect(reason(nil, "") == "no answer within 8 s")
    #expect(reason(.exit(3), "\n\n") == "exit code 3")
    #expect(reason(.signal(11), "") == "ended by SIGSEGV")
    #expect(!reason(.exit(1), "a\u{1b}[31mb").contains("\u{1b}"))
  }
}
