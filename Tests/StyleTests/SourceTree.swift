import Testing
import Foundation

/// A text file of the repository, by its path below the root.
struct SourceFile: Sendable, CustomTestStringConvertible {
  let path: String
  let lines: [String]

  /// `Core` of `Sources/Core/Failure.swift`.
  var target: String { String(path.split(separator: "/").dropFirst().first ?? "") }

  var isSwift: Bool { path.hasSuffix(".swift") }

  var testDescription: String { path }

  /// The lines with their numbers, without what stands behind `//`.
  var code: [(number: Int, text: String)] {
    lines.enumerated().map { index, line in
      let end = line.range(of: "//")?.lowerBound ?? line.endIndex
      return (index + 1, String(line[..<end]))
    }
  }
}

/// The sources and tests as they lie on disk.
enum SourceTree {
  static let root = URL(fileURLWithPath: #filePath)
    .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

  static let files: [SourceFile] = ["Sources", "Tests"].flatMap(files(below:))

  /// Target names of Package.swift, in its order.
  static let targets: [String] = {
    let package = (try? String(contentsOf: root.appending(path: "Package.swift"), encoding: .utf8))
    let declaration = /\.(?:target|executableTarget|systemLibrary)\(\s*name: "(\w+)"/
    return (package ?? "").matches(of: declaration).map { String($0.1) }
  }()

  private static func files(below folder: String) -> [SourceFile] {
    let extensions = ["swift", "h", "c", "cpp", "py"]
    let names = FileManager.default.enumerator(atPath: root.appending(path: folder).path)
    return (names?.compactMap { $0 as? String } ?? [])
      .filter { name in extensions.contains(URL(fileURLWithPath: name).pathExtension) }
      .sorted()
      .compactMap { name in
        let path = "\(folder)/\(name)"
        let text = try? String(contentsOf: root.appending(path: path), encoding: .utf8)
        return text.map { text in
          let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
          return SourceFile(path: path, lines: lines.map(String.init))
        }
      }
  }
}
