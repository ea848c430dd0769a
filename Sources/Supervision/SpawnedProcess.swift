import Core
import Foundation

/// A child process and the ends of its pipes that are ours.
package final class SpawnedProcess {
  package let identifier: pid_t
  /// To read what it says; -1 where nothing is piped.
  package private(set) var output: Int32 = -1
  package private(set) var error: Int32 = -1
  /// To write; the child sees the end of it when this process is gone, however it went.
  package private(set) var input: Int32 = -1
  private var end: ProcessEnd?

  /// Between making a pipe and marking it no other thread may start a process: it would keep the
  /// pipe open.
  private static let spawning = NSLock()

  package enum Input { case nothing, pipe }
  package enum Output { case pipes, nothing }

  /// Starts a program, given by its path, in a session of its own, with every signal at its default
  /// and none blocked.
  ///
  /// PBS ends a job by a signal to its session: mpirun, which knows no other end than at once, must
  /// leave that to whoever started it.
  ///
  /// Throws: `Failure` (.unavailable).
  package init(
    _ words: [String], environment: [String: String], input: Input = .nothing,
    output: Output = .pipes
  ) throws(Failure) {
    precondition(
      words.first?.utf8.contains(UInt8(ascii: "/")) == true,
      "programs are found before they are started")
    Self.spawning.lock()
    defer { Self.spawning.unlock() }
    var (ours, theirs): ([Int32], [Int32]) = ([], [])
    defer { theirs.forEach { close($0) } }
    func pipePair() throws(Failure) -> (read: Int32, write: Int32) {
      var ends: [Int32] = [-1, -1]
      guard pipe(&ends) == 0 else {
        ours.forEach { close($0) }
        throw Failure(.unavailable, "\(words[0]): no pipe (\(String(cString: strerror(errno))))")
      }
      ends.forEach { _ = fcntl($0, F_SETFD, FD_CLOEXEC) }
      return (ends[0], ends[1])
    }
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    switch input {
    case .nothing:
      posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0)
    case .pipe:
      let pair = try pipePair()
      (ours, theirs) = (ours + [pair.write], theirs + [pair.read])
      self.input = pair.write
      posix_spawn_file_actions_adddup2(&actions, pair.read, STDIN_FILENO)
    }
    switch output {
    case .nothing:
      posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0)
      posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0)
    case .pipes:
      let (out, err) = (try pipePair(), try pipePair())
      (ours, theirs) = (ours + [out.read, err.read], theirs + [out.write, err.write])
      (self.output, self.error) = (out.read, err.read)
      posix_spawn_file_actions_adddup2(&actions, out.write, STDOUT_FILENO)
      posix_spawn_file_actions_adddup2(&actions, err.write, STDERR_FILENO)
    }
    let (code, process) = Self.spawn(words, environment, &actions)
    guard code == 0 else {
      ours.forEach { close($0) }
      (self.input, self.output, self.error) = (-1, -1, -1)
      throw Failure(
        .unavailable, "\(words[0]): cannot be started (\(String(cString: strerror(code))))")
    }
    identifier = process
    for descriptor in [self.output, self.error] where descriptor >= 0 {
      let flags = fcntl(descriptor, F_GETFL)
      _ = fcntl(descriptor, F_SETFL, flags | O_NONBLOCK)
    }
  }

  deinit { for descriptor in [input, output, error] where descriptor >= 0 { close(descriptor) } }

  /// POSIX_SPAWN_SETSID, which Glibc's module map leaves out.
  private static let newSession: Int32 = 0x80

  private static func spawn(
    _ words: [String], _ environment: [String: String],
    _ actions: inout posix_spawn_file_actions_t
  ) -> (code: Int32, process: pid_t) {
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    var (none, all) = (sigset_t(), sigset_t())
    sigemptyset(&none)
    sigfillset(&all)
    posix_spawnattr_setsigmask(&attributes, &none)
    posix_spawnattr_setsigdefault(&attributes, &all)
    let flags = Self.newSession | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF
    posix_spawnattr_setflags(&attributes, Int16(flags))
    let arguments = words.map { strdup($0) }
    let settings = environment.map { setting($0.key, $0.value) }
    defer { (arguments + settings).forEach { free($0) } }
    var process: pid_t = 0
    let code = posix_spawn(
      &process, words[0], &actions, &attributes, arguments + [nil], settings + [nil])
    return (code, process)
  }

  /// `NAME=value`, with the bytes of this process's own variable where that is its value: text may
  /// not be able to hold them.
  private static func setting(_ name: String, _ value: String) -> UnsafeMutablePointer<CChar>? {
    guard let own = getenv(name), String(cString: own) == value else {
      return strdup("\(name)=\(value)")
    }
    let start = Array("\(name)=".utf8CString.dropLast())
    return strdup(start + UnsafeBufferPointer(start: own, count: strlen(own) + 1))
  }

  package func send(_ signal: Int32) { if end == nil { kill(identifier, signal) } }

  /// How it ended; nil while it runs.
  package func poll() -> ProcessEnd? {
    if let end { return end }
    var status: Int32 = 0
    guard waitpid(identifier, &status, WNOHANG) == identifier else { return nil }
    let signal = status & 0x7f
    end = signal == 0 ? .exit(status >> 8 & 0xff) : .signal(signal)
    return end
  }

  /// Waits for its end, at most so long; then it is killed. Returns nil when it had to be.
  package func wait(seconds: Double) -> ProcessEnd? {
    if let end = awaited(seconds: seconds) { return end }
    send(SIGKILL)
    // One that waits for a file system that does not answer dies when that does.
    _ = awaited(seconds: Self.dyingSeconds)
    end = .signal(SIGKILL)
    return nil
  }

  private static let dyingSeconds = 2.0

  private func awaited(seconds: Double) -> ProcessEnd? {
    let watch = Stopwatch()
    while watch.seconds < seconds {
      if let end = poll() { return end }
      usleep(5000)
    }
    return nil
  }

  /// What a short command says on its output, and on both of its outputs, and how it ended; nil
  /// where it cannot be started, or takes longer.
  package static func answer(
    _ words: [String], environment: [String: String], withinSeconds limit: Double
  ) -> (end: ProcessEnd, output: String, text: String)? {
    guard let child = try? SpawnedProcess(words, environment: environment) else { return nil }
    var (output, all): ([UInt8], [UInt8]) = ([], [])
    let watch = Stopwatch()
    while watch.seconds < limit {
      let end = child.poll()
      var buffer = [UInt8](repeating: 0, count: 4096)
      for descriptor in [child.output, child.error] {
        while case let count = read(descriptor, &buffer, buffer.count), count > 0 {
          guard all.count < 1 << 20 else { continue }
          all += buffer[..<count]
          if descriptor == child.output { output += buffer[..<count] }
        }
      }
      if let end {
        return (end, String(decoding: output, as: UTF8.self), String(decoding: all, as: UTF8.self))
      }
      usleep(5000)
    }
    _ = child.wait(seconds: 0)
    return nil
  }

  package func closeInput() {
    guard input >= 0 else { return }
    close(input)
    input = -1
  }

  /// The absolute path of a program, as far as it has one that text can hold; nil where `PATH` has
  /// none.
  package static func find(_ name: String, path: String) -> String? {
    if name.utf8.contains(UInt8(ascii: "/")) {
      return access(name, X_OK) == 0 ? FileSystem.absolute(name) : nil
    }
    return path.split(separator: ":").filter { $0.hasPrefix("/") }.map { "\($0)/\(name)" }
      .first { access($0, X_OK) == 0 }
  }
}
