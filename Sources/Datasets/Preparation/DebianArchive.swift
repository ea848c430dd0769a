import Core
import Foundation

/// Fetches package descriptions with apt, from the archives this machine is set up for, into a
/// private folder: the system's own package lists are neither read nor changed.
package struct DebianArchive: Sendable {
  /// Two letters, e.g. "de".
  package var language: String

  package init(language: String) { self.language = language }

  private static let aptHelper = "/usr/lib/apt/apt-helper"
  private static let aptGet = "/usr/bin/apt-get"

  /// Fetches and aligns the descriptions; `scratch` is an existing folder for apt's files.
  ///
  /// Throws: `Failure` (.missingInput) when apt or the lists cannot be had.
  package func corpus(
    scratch: String, progress: (String) -> Void
  ) throws(Failure) -> Corpus {
    for tool in [Self.aptGet, Self.aptHelper] where access(tool, X_OK) != 0 {
      throw Failure(
        .missingInput,
        "\(tool): expected apt to fetch package descriptions with, found none; this preset needs"
          + " Debian or a relative")
    }
    let configuration = try writeConfiguration(in: scratch)
    progress("fetching package descriptions (en, \(language)) with apt")
    let update = try run(Self.aptGet, ["-q", "-c", configuration, "update"], scratch: scratch)
    let lists = try fetchedLists(configuration, scratch: scratch)
    var contents: [String: [[UInt8]]] = [:]
    var provenance: [String] = []
    for list in lists {
      let output = try run(Self.aptHelper, ["cat-file", list.path], scratch: scratch)
      guard output.status == 0, !output.bytes.isEmpty else { continue }
      contents[list.content, default: []].append(output.bytes)
      provenance.append("\(list.origin): \(list.content), XXH3 \(Digest(of: output.bytes))")
    }
    guard let english = contents["en"], let translated = contents[language],
      let packages = contents["Packages"]
    else {
      throw Failure(
        .missingInput,
        "apt: expected descriptions in en and \(language), found"
          + " \(contents.isEmpty ? "no lists" : contents.keys.sorted().joined(separator: ", "))"
          + (update.reason.isEmpty ? "" : " (\(update.reason))"))
    }
    let (pairs, alignment) = DebianDescriptions(
      english: english, translated: translated, packages: packages, language: language
    ).aligned()
    progress(
      "\(alignment.documents) descriptions in both languages, \(alignment.unequalParagraphs) with"
        + " unequal paragraph counts left out")
    return Corpus(
      pairs: pairs, languages: Languages(source: "en", target: language), provenance: provenance,
      licenceNote: "Debian package descriptions and their translations (DDTP); they carry the"
        + " licences of their packages, no licence of the collection was found",
      overlap: .leavesHeldOut)
  }

  /// One downloaded list; `content` is a language or "Packages".
  private struct List {
    var content: String
    var origin: String
    var path: String
  }

  private func writeConfiguration(in scratch: String) throws(Failure) -> String {
    for folder in ["lists/partial", "lists/auxfiles", "cache/archives/partial"] {
      try FileSystem.createFolder("\(scratch)/\(folder)")
    }
    // apt leaves root for a user of its own, who may not enter the scratch folder.
    var user = ""
    if geteuid() == 0 { user = "APT::Sandbox::User \"root\";" }
    let text = """
      #clear Acquire::Languages;
      Acquire::Languages { "en"; "\(language)"; };
      Dir::State::Lists "\(scratch)/lists";
      Dir::Cache "\(scratch)/cache";
      #clear APT::Update::Pre-Invoke;
      #clear APT::Update::Post-Invoke;
      #clear APT::Update::Post-Invoke-Success;
      \(user)

      """
    let path = "\(scratch)/apt.conf"
    try FileSystem.writeAtomically(Array(text.utf8), to: path)
    return path
  }

  private func fetchedLists(
    _ configuration: String, scratch: String
  ) throws(Failure) -> [List] {
    let format = "$(CREATED_BY)\t$(LANGUAGE)\t$(SITE) $(CODENAME)/$(COMPONENT)\t$(FILENAME)"
    let output = try run(
      Self.aptGet, ["-c", configuration, "indextargets", "--format", format], scratch: scratch)
    return String(decoding: output.bytes, as: UTF8.self).split(separator: "\n").compactMap { line in
      let fields = line.split(separator: "\t", omittingEmptySubsequences: false).map(String.init)
      guard fields.count == 4 else { return nil }
      switch (fields[0], fields[1]) {
      case ("Packages", _): return List(content: "Packages", origin: fields[2], path: fields[3])
      case ("Translations", "en"), ("Translations", language):
        return List(content: fields[1], origin: fields[2], path: fields[3])
      default: return nil
      }
    }
  }

  /// Runs a program to its end; `reason` is the last line it complained with.
  private func run(
    _ path: String, _ arguments: [String], scratch: String
  ) throws(Failure) -> (status: Int32, bytes: [UInt8], reason: String) {
    let errors = "\(scratch)/stderr"
    try FileSystem.writeAtomically([], to: errors)
    do {
      let process = Process()
      process.executableURL = URL(fileURLWithPath: path)
      process.arguments = arguments
      process.environment = ProcessInfo.processInfo.environment.merging(["LC_ALL": "C"]) { $1 }
      let output = Pipe()
      process.standardOutput = output
      process.standardInput = FileHandle.nullDevice
      process.standardError = try FileHandle(forWritingTo: URL(fileURLWithPath: errors))
      try process.run()
      let bytes = try output.fileHandleForReading.readToEnd() ?? Data()
      process.waitUntilExit()
      let complaints = String(decoding: try InputFile.bytes(of: errors), as: UTF8.self)
      let reason = complaints.split(separator: "\n").last.map(String.init) ?? ""
      return (process.terminationStatus, Array(bytes), reason)
    } catch let failure as Failure {
      throw failure
    } catch {
      throw Failure(.missingInput, "\(path): cannot run (\(error.localizedDescription))")
    }
  }
}
