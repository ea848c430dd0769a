import CHDF5
import Core
import Foundation

/// The one door to libhdf5: a process-wide lock around every call, and the funnel through which
/// every return code passes.
enum Library {
  /// Where a call works, for the sentence a failing call turns into.
  struct Place: Sendable {
    let file: String
    /// Path of the object inside the file; nil when the file itself is meant.
    let object: String?

    var description: String {
      guard let object else { return file }
      return "\(file): \(escaped(object))"
    }
  }

  private static let lock = NSLock()

  /// Deaf to what a file may ask for: no filter plugins and no links into other files. And silent
  /// at exit, where cleaning up after a failed write crashes.
  private static let isPrepared: Bool = {
    // Fails, and only then, where somebody else in this process has used the library before.
    _ = H5dont_atexit()
    return H5open() >= 0 && H5PLset_loading_state(0) >= 0 && H5Lunregister(H5L_TYPE_EXTERNAL) >= 0
  }()

  /// Takes the lock and stops libhdf5 from printing errors: it keeps that setting by thread.
  private static func enter() -> Bool {
    lock.lock()
    return isPrepared && H5Eset_auto2(lockstep_error_stack(), nil, nil) >= 0
  }

  /// Runs one libhdf5 call and passes its result on.
  ///
  /// Throws: `Failure(exitCode)`, "file: object: cannot <verb> (HDF5's error stack)", when the
  /// result is negative.
  @discardableResult
  static func check<Code: SignedInteger>(
    _ verb: String, _ place: Place, _ exitCode: ExitCode, _ call: @autoclosure () -> Code
  ) throws(Failure) -> Code {
    let isReady = enter()
    defer { lock.unlock() }
    guard isReady else {
      throw Failure(.internal, "libhdf5 cannot be initialised; reinstall it")
    }
    let code = call()
    guard code < 0 else { return code }
    let reasons = errorStack()
    let text = reasons.isEmpty ? "no reason given" : reasons.joined(separator: "; ")
    throw Failure(exitCode, "\(place.description): cannot \(verb) (HDF5: \(text))")
  }

  /// Runs a call that reports by an unsigned or pointer value, which the caller judges.
  static func value<Value>(_ call: @autoclosure () -> Value) -> Value {
    // A library that cannot start fails the checked call that always comes first.
    _ = enter()
    defer { lock.unlock() }
    return call()
  }

  /// Descriptions of this thread's error stack, from the outermost function to the innermost.
  private static func errorStack() -> [String] {
    final class Collector { var reasons: [String] = [] }
    let collector = Collector()
    let status = H5Ewalk2(
      lockstep_error_stack(), H5E_WALK_UPWARD,
      { _, error, context in
        guard let error, let context else { return 0 }
        let collector = Unmanaged<Collector>.fromOpaque(context).takeUnretainedValue()
        if let text = error.pointee.desc {
          let reason = escaped(concise(String(cString: text)))
          if !collector.reasons.contains(reason) { collector.reasons.append(reason) }
        }
        return 0
      }, Unmanaged.passUnretained(collector).toOpaque())
    // Upward is from the innermost out; a reader wants what he asked for first, its cause last.
    return status < 0 ? [] : collector.reasons.reversed()
  }
}

/// A reason without the dump of addresses that failed system calls come with: what failed and why.
private func concise(_ reason: String) -> String {
  guard let what = reason.firstRange(of: ": time = "),
    let opening = reason.firstRange(of: "error message = '")
  else { return reason }
  let why = reason[opening.upperBound...].prefix { $0 != "'" }
  return "\(reason[..<what.lowerBound]): \(why)"
}
