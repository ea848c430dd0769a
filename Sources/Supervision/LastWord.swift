import Core
import Foundation
import Training

/// The last line rank 0 wrote about the end of a launch, once all it promises was on disk.
package enum LastWord: Equatable, Sendable {
  /// The last step of the run is done and saved.
  case finished(step: Int)
  /// On request, after this step was saved.
  case stopped(step: Int)
  /// On request, but this step could not be saved.
  case unsaved(step: Int)
  /// The run was given up at this step.
  case diverged(step: Int)
}

extension LastWord {
  /// What a launch has left at the end of `events.jsonl`; nil where it has not said how it ended.
  ///
  /// What follows its end is the supervisor's; a line of the launch's own after it is not possible.
  /// - Parameter start: the bytes the file had before the launch: what stands in them is nobody's
  ///   word on it, whatever number it bears.
  package init?(of paths: RunPaths, ofLaunch incarnation: Int, after start: Int = 0) {
    let tail = Self.tail(of: paths, after: start)
    for line in tail.split(separator: UInt8(ascii: "\n")).reversed() {
      guard let event = try? JSONSerialization.jsonObject(with: Data(line)) as? [String: Any],
        event["incarnation"] as? Int == incarnation, let kind = event["event"] as? String,
        kind != "supervisor"
      else { continue }
      guard let step = event["step"] as? Int, step >= 0 else { return nil }
      switch kind {
      case "end": self = .finished(step: step)
      case "stop": self = .stopped(step: step)
      case "unsaved": self = .unsaved(step: step)
      case "diverged": self = .diverged(step: step)
      default: return nil
      }
      return
    }
    return nil
  }

  /// The furthest step of a launch that the end of `events.jsonl` tells of, which a person may have
  /// been told of; 0 where it tells of none.
  ///
  /// - Parameter start: as above.
  package static func furthestStep(
    of paths: RunPaths, inLaunch incarnation: Int, after start: Int = 0
  ) -> Int {
    tail(of: paths, after: start).split(separator: UInt8(ascii: "\n")).compactMap { line in
      guard let event = try? JSONSerialization.jsonObject(with: Data(line)) as? [String: Any],
        event["incarnation"] as? Int == incarnation, event["event"] as? String == "step"
      else { return nil }
      return event["step"] as? Int
    }.max() ?? 0
  }

  /// Events are short, and few of the supervisor's follow an end.
  private static func tail(of paths: RunPaths, after start: Int) -> [UInt8] {
    guard let file = try? paths.open(paths.events, for: .reading), let size = try? file.byteCount()
    else { return [] }
    // One that is shorter was emptied since.
    let count = min(start <= size ? size - start : size, 1 << 16)
    return (try? file.read(byteCount: count, at: size - count)) ?? []
  }
}
