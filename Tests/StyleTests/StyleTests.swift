import Testing

/// What a machine can see of how this code is meant to read. `swift format lint --strict`, which
/// sees the rest, runs in launch/test.
@Suite struct StyleTests {
  /// Where each C library may be imported: it has one Swift face.
  private static let facesOfLibraries = [
    "CMPI": "Messaging", "CHDF5": "HDF5", "COpenBLAS": "Tensors", "CSentencePiece": "Datasets",
    "CXXHash": "Core", "CZlib": "HDF5", "CLinux": "HDF5", "CInstructions": "Tensors",
  ]

  /// Files that may be longer, each with its reason.
  private static let longFiles: [String: String] = [:]

  private static let lineLimit = 100
  private static let fileLimit = 450

  @Test func theTreeIsFound() {
    #expect(SourceTree.targets.contains("Core"))
    #expect(SourceTree.targets.last == "lockstep")
    #expect(SourceTree.files.contains { $0.path == "Sources/lockstep/main.swift" })
  }

  @Test(arguments: SourceTree.files.filter { $0.isSwift && $0.path.hasPrefix("Sources/") })
  func aTargetImportsOnlyTargetsAboveIt(file: SourceFile) throws {
    let own = try #require(SourceTree.targets.firstIndex(of: file.target), "\(file.path)")
    for (number, module) in imports(file) {
      guard let place = SourceTree.targets.firstIndex(of: module) else { continue }
      #expect(place < own, "\(file.path):\(number): \(file.target) imports \(module) below it")
    }
  }

  @Test(arguments: SourceTree.files.filter(\.isSwift))
  func aCLibraryHasOneFace(file: SourceFile) {
    for (number, module) in imports(file) {
      guard let face = Self.facesOfLibraries[module] else { continue }
      #expect(
        file.path.hasPrefix("Sources/\(face)/") || file.path.hasPrefix("Tests/\(face)Tests/"),
        "\(file.path):\(number): only \(face) imports \(module)")
    }
  }

  @Test(arguments: SourceTree.files)
  func linesAndFilesAreShort(file: SourceFile) {
    for (index, line) in file.lines.enumerated() where line.count > Self.lineLimit {
      Issue.record("\(file.path):\(index + 1): a line of \(line.count) characters")
    }
    if Self.longFiles[file.path] == nil {
      #expect(file.lines.count <= Self.fileLimit + 1, "\(file.path): \(file.lines.count) lines")
    }
  }

  @Test func theListOfLongFilesIsUpToDate() {
    for path in Self.longFiles.keys {
      let file = SourceTree.files.first { $0.path == path }
      #expect((file?.lines.count ?? 0) > Self.fileLimit, "\(path) needs no exception")
    }
  }

  @Test(arguments: SourceTree.files.filter(\.isSwift))
  func noCallEndsTheProcessOrTalksBehindOurBack(file: SourceFile) {
    let talks = ["Sources/lockstep/", "Sources/Reporting/"].contains { file.path.hasPrefix($0) }
    // Plain words first: a regular expression over every line takes a minute.
    for (number, text) in file.code
    where ["!", "fatalError", "@testable", "print", "Print"].contains(where: text.contains) {
      #expect(!text.contains(/\btry!/), "\(file.path):\(number): a forced try")
      #expect(!text.contains(/\bas!/), "\(file.path):\(number): a forced cast")
      #expect(!text.contains(/\bfatalError\(/), "\(file.path):\(number): a fatal error")
      #expect(!text.hasPrefix("@testable"), "\(file.path):\(number): tests use what others use")
      let isPrint = text.contains(/(?:^|[^\w.])(?:debugPrint|print)\(/)
      #expect(talks || !isPrint, "\(file.path):\(number): printing belongs to the command line")
    }
  }

  /// CR LF is one `Character`, which is not "\n".
  @Test(arguments: SourceTree.files.filter { $0.isSwift && $0.path.hasPrefix("Sources/") })
  func textIsCutIntoLinesByItsBytes(file: SourceFile) {
    let separator = "separator: " + "\"\\n\""
    for (number, text) in file.code where text.contains("split(" + separator) {
      Issue.record("\(file.path):\(number): allLines and filledLines know CR LF")
    }
  }

  @Test(arguments: SourceTree.files)
  func nothingIsLeftForLater(file: SourceFile) {
    // Put together here, so that this file does not find itself.
    let markers = ["TO" + "DO", "FIX" + "ME", "XX" + "X:"]
    for (index, line) in file.lines.enumerated() {
      for marker in markers where line.contains(marker) {
        Issue.record("\(file.path):\(index + 1): \(marker)")
      }
    }
  }

  private func imports(_ file: SourceFile) -> [(number: Int, module: String)] {
    file.code.filter { $0.text.contains("import") }.compactMap { number, text in
      let statement = /^\s*(?:@\w+(?:\([^)]*\))?\s+)*(?:\w+\s+)?import\s+(?:\w+\s+)?(\w+)/
      return text.firstMatch(of: statement).map { (number, String($0.1)) }
    }
  }
}
