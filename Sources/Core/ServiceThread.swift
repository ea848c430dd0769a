import Foundation

/// Threads that nobody joins. Foundation's own do not say when the system refuses one, and whoever
/// waits for its work then waits for ever.
package enum ServiceThread {
  private final class Work: Sendable {
    let body: @Sendable () -> Void

    init(_ body: @escaping @Sendable () -> Void) { self.body = body }
  }

  /// Starts a thread that runs `body` and is gone.
  ///
  /// - Parameter name: what `top -H` and debuggers show; at most 15 bytes.
  /// Throws: `Failure(.internal)` when the system gives no more threads; `body` does not run then.
  package static func start(
    _ name: String, _ body: @escaping @Sendable () -> Void
  ) throws(Failure) {
    precondition(name.utf8.count <= 15, "the kernel keeps 15 bytes of a name")
    let work = Work {
      Thread.current.name = name
      body()
    }
    var attributes = pthread_attr_t()
    pthread_attr_init(&attributes)
    defer { pthread_attr_destroy(&attributes) }
    pthread_attr_setdetachstate(&attributes, Int32(PTHREAD_CREATE_DETACHED))
    let handed = Unmanaged.passRetained(work)
    var thread = pthread_t()
    let code = pthread_create(
      &thread, &attributes,
      { raw in
        if let raw { Unmanaged<Work>.fromOpaque(raw).takeRetainedValue().body() }
        return nil
      }, handed.toOpaque())
    guard code != 0 else { return }
    handed.release()
    throw Failure(
      .internal,
      "the system starts no thread for \(name) (\(String(cString: strerror(code)))): a limit of"
        + " processes (ulimit -u, a pids cgroup) or of memory (ulimit -v) is reached")
  }
}
