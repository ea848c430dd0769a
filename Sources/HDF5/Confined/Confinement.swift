import CLinux
import Core
import Foundation

/// Takes from this process, for good, what reading one open file does not need.
package enum Confinement {
  /// Processor time for one file: a hundred times what the largest checkpoint needs.
  static let processorSeconds: rlim_t = 5
  /// Memory beyond what the program's own code and libraries take.
  private static let memoryByteCount: rlim_t = 512 << 20

  /// Throws: `Failure(.internal)` when a limit cannot be set; nothing may be parsed then.
  package static func enter() throws(Failure) {
    // Read before the first limit: afterwards nothing opens any more.
    let memory = (ownByteCount() ?? 4 << 30) + memoryByteCount
    guard ServantProcess.endWithParent(), lockstep_no_new_privileges() == 0 else {
      throw Failure(.internal, "cannot give up privileges (\(String(cString: strerror(errno))))")
    }
    try limit(__rlimit_resource_t(RLIMIT_CORE.rawValue), 0)
    try limit(__rlimit_resource_t(RLIMIT_FSIZE.rawValue), 0)
    try limit(__rlimit_resource_t(RLIMIT_AS.rawValue), memory)
    try limit(__rlimit_resource_t(RLIMIT_CPU.rawValue), processorSeconds)
    try limit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), 0)
    // A second wall, where the kernel has it: without it the limits above still hold.
    _ = lockstep_allow_only_memory_and_io()
  }

  private static func limit(
    _ resource: __rlimit_resource_t, _ value: rlim_t
  ) throws(Failure) {
    var limit = rlimit()
    // A lower one that this process was given (ulimit) stays.
    guard getrlimit(resource, &limit) == 0 else {
      throw Failure(.internal, "cannot ask for its limits (\(String(cString: strerror(errno))))")
    }
    limit = rlimit(rlim_cur: min(value, limit.rlim_max), rlim_max: min(value, limit.rlim_max))
    guard setrlimit(resource, &limit) == 0 else {
      throw Failure(.internal, "cannot limit itself (\(String(cString: strerror(errno))))")
    }
  }

  private static func ownByteCount() -> rlim_t? {
    guard let file = fopen("/proc/self/statm", "re") else { return nil }
    defer { fclose(file) }
    var text = [CChar](repeating: 0, count: 64)
    guard fgets(&text, Int32(text.count), file) != nil else { return nil }
    return rlim_t(strtoul(text, nil, 10)) * rlim_t(sysconf(Int32(_SC_PAGESIZE)))
  }
}
