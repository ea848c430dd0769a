import CHDF5
import Core
import Foundation

/// The one door to libhdf5: a process-wide lock around every call, and the funnel through which every
/// return code passes.
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

  /// Deaf to what a file may ask for: no filter plugins and no links into other files.
  private static let isPrepared: Bool = {
    H5open() >= 0 && H5PLset_loading_state(0) >= 0 && H5Lunregister(H5L_TYPE_EXTERNAL) >= 0
  }()

  /// Takes the lock and stops libhdf5 from printing errors: it keeps that setting by thread.
  private static func enter() -> Bool {
    lock.lock()
    return isPrepared && H5Eset_auto2(lockstep_error_stack(), nil, nil) >= 0
  }

  /// Runs one libhdf5 call and passes its result on.
  ///
  /// Throws: `Failure(exitCode)`, "file: object: cannot <verb> (HDF5's error stack)", when the result
  /// is negative.
  @discardableResult
  static func check<Code: SignedInteger>(
    _ verb: String, _ place: Place, _ exitCode: ExitCode, _ call: @autoclosure () -> Code
  ) throws(Failure) -> Code {
    let isReady = enter()
    defer { lock.unlock() }
    guard isReady else {
      throw Failure(.internal, "libhdf5 cannot be initialised; reinstall the package libhdf5-103")
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
          let reason = escaped(String(cString: text))
          if !collector.reasons.contains(reason) { collector.reasons.append(reason) }
        }
        return 0
      }, Unmanaged.passUnretained(collector).toOpaque())
    // Upward is from the innermost out; a reader wants what he asked for first, its cause last.
    return status < 0 ? [] : collector.reasons.reversed()
  }
}

/// Text that cannot drive a terminal: control characters become `\u{..}`.
package func escaped(_ text: String) -> String {
  guard text.unicodeScalars.contains(where: isControl) else { return text }
  var result = ""
  for scalar in text.unicodeScalars {
    if isControl(scalar) {
      result += "\\u{\(String(scalar.value, radix: 16))}"
    } else {
      result.unicodeScalars.append(scalar)
    }
  }
  return result
}

private func isControl(_ scalar: Unicode.Scalar) -> Bool {
  // Format characters reorder what surrounds them on a terminal.
  scalar.properties.generalCategory == .control || scalar.properties.generalCategory == .format
    || scalar.properties.generalCategory == .lineSeparator
    || scalar.properties.generalCategory == .paragraphSeparator
}
