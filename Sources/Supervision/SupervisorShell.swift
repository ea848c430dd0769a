import Core
import Foundation
import Training

/// Does what `Supervisor` decides: the thin part that has processes, files and a clock.
///
/// One thread looks at everything in turn; what may have to wait (a host that does not answer, a
/// reader that has stopped, a file system) is done by others.
package final class SupervisorShell {
  /// What a person asked for.
  package struct Settings: Sendable {
    package var runPath: String
    package var line: LaunchLine.Job
    package var policy: SupervisorPolicy

    package init(runPath: String, line: LaunchLine.Job, policy: SupervisorPolicy) {
      self.runPath = runPath
      self.line = line
      self.policy = policy
    }
  }

  private static let lookMilliseconds: Int32 = 50
  /// Between two attempts to have a lifeline again.
  private static let lifelineSeconds = 30.0

  private let paths: RunPaths
  private let lease: SupervisorLease
  private let control: JobControl
  private let output: Forwarder
  private let errors: Forwarder
  private let clock = Stopwatch()
  private var line: LaunchLine.Job
  private var supervisor: Supervisor
  private var table: IncidentTable
  private var events: EventLog
  /// How long the events were before the newest launch.
  private var eventsByteCount = 0
  private var lifeline: SpawnedProcess
  private var nextLifelineAt = 0.0
  private var isLifelineMissed = false
  private var mpirun: SpawnedProcess?
  private var openPipes: Set<Int32> = []
  private var heartbeats: (output: HeartbeatStream, error: HeartbeatStream)
  private var words = LauncherWords()
  /// mpirun's own words of this launch, for a launch that never began.
  private var notices: [String] = []
  private let launcherLog: OpenFile
  private var memoryKills: Int?
  private var wasFenced = false
  private var verdict: Verdict?

  /// Takes the run and ends what a supervisor that died has left.
  ///
  /// Throws: `Failure` (.inputOutput when somebody supervises the run, .cannotCreate, .internal
  /// when the system gives no more threads).
  package init(_ settings: Settings) throws(Failure) {
    output = try Forwarder(to: STDOUT_FILENO)
    errors = try Forwarder(to: STDERR_FILENO)
    paths = RunPaths(root: settings.runPath)
    lease = try SupervisorLease(root: settings.runPath)
    line = settings.line.withFolders(of: lease.job)
    supervisor = Supervisor(hosts: line.hosts, policy: settings.policy)
    table = IncidentTable(hosts: line.hosts)
    control = JobControl(line, answerSeconds: settings.policy.answerSeconds)
    heartbeats = (HeartbeatStream(job: lease.job), HeartbeatStream(job: lease.job))
    if let abandoned = lease.abandonedJob {
      control.reapNow(abandoned)
      settings.line.withFolders(of: abandoned).folders.forEach(Self.removeOwn)
    }
    do throws(Failure) {
      try RunDirectory.requireNobodyTrains(in: paths)
      launcherLog = try paths.open(paths.launcherLog, for: .appending)
      events = try EventLog(paths, incarnation: try RunDirectory.lastIncarnation(of: paths))
      try line.makeFolders()
      try line.requireRoom()
      try lease.keepAlive()
      lifeline = try Self.startLifeline(line, job: lease.job)
    } catch {
      line.folders.forEach(Self.removeOwn)
      lease.release()
      throw error
    }
  }

  /// Supervises until the end. Returns the verdict and the lines of the table of what died.
  package func run() -> (verdict: Verdict, table: [String]) {
    SupervisorSignals.install()
    take(.begin(savedStep: RunDirectory.newestStep(of: paths)))
    let verdict = supervise()
    lease.release()
    lifeline.closeInput()
    _ = lifeline.wait(seconds: 10)
    // It removes them, unless somebody has killed it.
    line.folders.forEach(Self.removeOwn)
    output.flush()
    errors.flush()
    return (verdict, table.lines)
  }

  private func supervise() -> Verdict {
    while true {
      if let verdict { return verdict }
      look()
      for request in SupervisorSignals.take() { take(.signal(request)) }
      if SupervisorSignals.takePause() { pause() }
      for event in control.takeEvents() {
        // Nothing of the launch can save any more.
        if case .reaped = event {
          take(
            .found(
              savedStep: RunDirectory.newestStep(of: paths),
              recordedStep: LastWord.furthestStep(
                of: paths, inLaunch: supervisor.incarnation ?? 0, after: eventsByteCount)))
        }
        take(event)
      }
      if lease.isFenced, !wasFenced {
        wasFenced = true
        take(.fenced)
      }
      keepLifeline()
      take(.tick)
    }
  }

  /// Ctrl-Z: the shell means the whole job. Ranks on other hosts wait for those of this one, and
  /// end themselves should it take too long.
  private func pause() {
    Reaper.signal(SIGSTOP, to: lease.job)
    raise(SIGSTOP)
    Reaper.signal(SIGCONT, to: lease.job)
  }

  /// Removes a folder unless it is another user's, or gone.
  private static func removeOwn(_ folder: String) {
    var status = stat()
    guard lstat(folder, &status) == 0, status.st_uid == geteuid() else { return }
    try? FileSystem.remove(folder)
  }

  private func take(_ event: SupervisorEvent) {
    for action in supervisor.handle(event, at: clock.seconds) { perform(action) }
  }

  private func perform(_ action: SupervisorAction) {
    switch action {
    case .launch(let plan): launch(plan)
    case .send(let signal):
      switch signal {
      case .saveAndStop:
        mpirun?.send(SIGUSR1)
        say("saving after this step; another TERM or Ctrl-C ends at once")
      case .saveAndStopHere: Reaper.signal(SIGUSR1, toRanksOf: lease.job)
      case .save: mpirun?.send(SIGUSR2)
      case .terminate: mpirun?.send(SIGTERM)
      case .kill: mpirun?.send(SIGKILL)
      }
    case .reap(let number):
      if let mpirun, mpirun.poll() == nil { mpirun.send(SIGKILL) }
      control.reap(lease.job, number: number)
    case .record(let record):
      table.take(record)
      events.append(.supervisor, record.fields(line.hosts))
      // The reason of a launch that never began is mpirun's to tell, unless a rank has.
      if case .death(let death) = record, death.incarnation > 0, death.step == nil,
        !death.cause.isRanksOwn
      {
        notices.forEach(say)
      }
      if let sentence = record.sentence(line.hosts) { say(sentence) }
    case .finish(let verdict): self.verdict = verdict
    }
  }

  /// One line among those of the ranks, in order; never waits for who reads it.
  private func say(_ message: String) {
    errors.send(Array("lockstep: \(escaped(message.replacing("\n", with: " ")))\n".utf8))
  }
}

// MARK: - mpirun

extension SupervisorShell {
  private func launch(_ plan: LaunchPlan) {
    notices = []
    removeTemporaryFiles()
    do throws(Failure) {
      try line.requireRoom()
      let incarnation = try RunDirectory.takeIncarnation(paths)
      lease.set(incarnation: incarnation)
      events = try EventLog(paths, incarnation: incarnation)
      eventsByteCount = try paths.open(paths.events, for: .reading).byteCount()
      let launch = SupervisedLaunch(
        job: lease.job, incarnation: incarnation, leasePath: paths.lease)
      let command = LaunchLine(line, plan: plan, launch: launch)
      if let file = command.file {
        try FileSystem.writeAtomically(Array(file.text.utf8), to: file.path)
      }
      words = LauncherWords()
      heartbeats = (HeartbeatStream(job: lease.job), HeartbeatStream(job: lease.job))
      memoryKills = MemoryKills.count()
      let child = try SpawnedProcess(command.arguments, environment: command.environment)
      mpirun = child
      openPipes = [child.output, child.error]
      take(.launched(incarnation: incarnation))
    } catch {
      take(.launchFailed(error))
    }
  }

  /// An mpirun that was killed has left its own; nothing of the job runs before a launch.
  private func removeTemporaryFiles() {
    for folder in line.folders {
      for name in (try? FileSystem.names(in: folder)) ?? [] {
        try? FileSystem.remove("\(folder)/\(name)")
      }
    }
  }

  /// Waits a moment for mpirun's pipes, reads what is there and notices its end.
  private func look() {
    var pipes = openPipes.map { pollfd(fd: $0, events: Int16(POLLIN), revents: 0) }
    poll(&pipes, nfds_t(pipes.count), Self.lookMilliseconds)
    guard let child = mpirun else { return }
    // First its end: what it has said before can then be read to the last byte.
    let end = child.poll()
    drain(child)
    guard let end else { return }
    tell(words.take([], isEnd: true))
    if let before = memoryKills, let now = MemoryKills.count(), now > before {
      take(.memoryRanOut(MemoryLimit.own()?.owner ?? .machine, rank: nil))
    }
    mpirun = nil
    openPipes = []
    let launch = supervisor.incarnation ?? 0
    let lastWord = LastWord(of: paths, ofLaunch: launch, after: eventsByteCount)
    take(.exited(end, lastWord: lastWord))
  }

  private func drain(_ child: SpawnedProcess) {
    for descriptor in openPipes {
      var buffer = [UInt8](repeating: 0, count: 1 << 16)
      // A rank that talks without a pause must not keep this loop from its other duties.
      for _ in 0..<16 {
        let count = read(descriptor, &buffer, buffer.count)
        if count == 0 { openPipes.remove(descriptor) }
        guard count > 0 else { break }
        if descriptor == child.output {
          output.send(heartbeats.output.take(buffer[..<count]) { take(.heartbeat($0)) })
        } else {
          tell(words.take(heartbeats.error.take(buffer[..<count]) { take(.heartbeat($0)) }))
        }
      }
    }
  }

  /// Passes on what ranks said; keeps what mpirun said.
  private func tell(_ lines: [LauncherWords.Line]) {
    for line in lines {
      switch line {
      case .rank(let text): errors.send(Array((text + "\n").utf8))
      case .launcher(let text):
        if let ended = LauncherWords.endedRank(text) {
          take(.rankEnded(rank: ended.rank, .signal(ended.signal)))
        }
        if let rank = LauncherWords.taskOutOfMemory(text) {
          take(.memoryRanOut(.job, rank: rank))
        }
        if let ended = LauncherWords.endedTask(text) {
          take(.rankEnded(rank: ended.rank, ended.end))
        }
        if let host = LauncherWords.failedNode(text) { take(.hostLost(name: host, daemon: nil)) }
        if let host = LauncherWords.lostHost(text) {
          take(.hostLost(name: host.name, daemon: host.daemon))
        }
        if notices.count < 40, !text.allSatisfy({ $0 == "-" }), !text.isEmpty {
          notices.append(text)
        }
        _ = launcherLog.append(Array((text + "\n").utf8))
      }
    }
  }

  // MARK: The process that outlives this one

  /// One that was killed is replaced; one that cannot live here is not started all the time.
  private func keepLifeline() {
    guard lifeline.poll() != nil else { return }
    guard clock.seconds >= nextLifelineAt else {
      if !isLifelineMissed {
        say(
          "the lifeline process ends by itself: should this supervisor be killed, its ranks end"
            + " only after \(Int(Pulse.deadManSeconds)) s")
      }
      return isLifelineMissed = true
    }
    nextLifelineAt = clock.seconds + Self.lifelineSeconds
    if let another = try? Self.startLifeline(line, job: lease.job) { lifeline = another }
  }

  private static func startLifeline(
    _ line: LaunchLine.Job, job: String
  ) throws(Failure) -> SpawnedProcess {
    let child = try SpawnedProcess(
      [line.program[0], "lifeline"], environment: line.ownEnvironment,
      input: .pipe, output: .nothing)
    let bytes = Lifeline.message(job: job, folders: line.folders)
    // One that ended at once is an error like others, not the end of this process.
    signal(SIGPIPE, SIG_IGN)
    let count = bytes.withUnsafeBytes { write(child.input, $0.baseAddress, $0.count) }
    guard count == bytes.count else {
      _ = child.wait(seconds: 0)
      throw Failure(.unavailable, "the lifeline process ended at once")
    }
    return child
  }
}
