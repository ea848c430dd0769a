import Foundation
import Testing

/// What the supervisor has recorded of a run, by kind.
extension TinyRun {
  /// Lines of one kind: launch, death, restart, recovered, verdict, ...
  func supervisorLines(_ what: String) -> [String] {
    eventsText.split(separator: "\n").map(String.init).filter {
      $0.hasPrefix("{\"event\":\"supervisor\"") && $0.contains("\"what\":\"\(what)\"")
    }
  }

  /// Whether a launch has recorded a step.
  func hasStep(ofLaunch number: Int) -> Bool {
    eventsText.contains("{\"event\":\"step\",\"incarnation\":\(number),")
  }

  private var eventsText: String {
    (try? String(contentsOfFile: path + "/events.jsonl", encoding: .utf8)) ?? ""
  }

  /// A number of such a line.
  static func number(_ name: String, in line: String?) throws -> Double {
    let line = try #require(line)
    let start = try #require(line.range(of: "\"\(name)\":")).upperBound
    return try #require(Double(line[start...].prefix { $0 != "," && $0 != "}" }))
  }
}
