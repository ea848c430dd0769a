import Core
import Foundation

/// Fetches package descriptions with apt, from the archives this machine is set up for and from the
/// other releases of Debian on the same mirror, into a private folder: the system's own package
/// lists are neither read nor changed.
package struct DebianArchive: Sendable {
  /// Two letters, e.g. "de".
  package var language: String

  package init(language: String) { self.language = language }

  private static let aptHelper = "/usr/lib/apt/apt-helper"
  private static let aptGet = "/usr/bin/apt-get"
  private static let keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

  /// Each release has descriptions that the others have no more, or not yet; those that a mirror
  /// does not have are done without.
  private static let releases = ["bullseye", "bookworm", "trixie", "sid"]

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
    progress("fetching package descriptions (en, \(language)) with apt")
    var (lists, complaint) = try fetch(into: "\(scratch)/own")
    if let sources = Self.otherReleases(than: lists) {
      let path = "\(scratch)/releases.list"
      try FileSystem.writeAtomically(Array(sources.utf8), to: path)
      progress("and those of other releases")
      lists += try fetch(from: path, into: "\(scratch)/others").lists
    }
    var contents: [String: [[UInt8]]] = [:]
    for list in lists { contents[list.content, default: []].append(list.bytes) }
    guard let english = contents["en"], let translated = contents[language],
      let packages = contents["Packages"]
    else {
      throw Failure(
        .missingInput,
        "apt: expected descriptions in en and \(language), found"
          + " \(contents.isEmpty ? "no lists" : contents.keys.sorted().joined(separator: ", "))"
          + (complaint.isEmpty ? "" : " (\(complaint))"))
    }
    let (pairs, items, alignment) = DebianDescriptions(
      english: english, translated: translated, packages: packages, language: language
    ).aligned()
    progress(
      "\(alignment.documents) descriptions in both languages, \(alignment.unequalParagraphs) with"
        + " unequal paragraph counts left out")
    var corpus = Corpus(
      pairs: pairs, languages: Languages(source: "en", target: language),
      provenance: lists.map { "\($0.origin): \($0.content), XXH3 \(Digest(of: $0.bytes))" },
      licenceNote: "Debian package descriptions and their translations (DDTP); they carry the"
        + " licences of their packages, no licence of the collection was found",
      overlap: .leavesHeldOut)
    corpus.items = items
    corpus.leavesOutUntranslated = true
    return corpus
  }

  /// One downloaded list; `content` is a language or "Packages".
  private struct List {
    var content: String
    var origin: String
    var release: String
    /// The address of the archive, where it is Debian's.
    var mirror: String?
    var bytes: [UInt8]
  }

  /// Sources for apt: the releases that `lists` have nothing of, from the same mirror.
  private static func otherReleases(than lists: [List]) -> String? {
    guard let mirror = lists.lazy.compactMap(\.mirror).first else { return nil }
    let present = Set(lists.map(\.release))
    let key = access(keyring, R_OK) == 0 ? "[signed-by=\(keyring)] " : ""
    return releases.filter { !present.contains($0) }
      .map { "deb \(key)\(mirror) \($0) main\n" }.joined()
  }

  /// Fetches the lists of the machine's sources, or of those in a file, with apt's complaint if it
  /// has one.
  private func fetch(
    from sources: String? = nil, into folder: String
  ) throws(Failure) -> (lists: [List], complaint: String) {
    for part in ["lists/partial", "lists/auxfiles", "cache/archives/partial"] {
      try FileSystem.createFolder("\(folder)/\(part)")
    }
    // apt leaves root for a user of its own, who may not enter the scratch folder.
    let user = geteuid() == 0 ? "APT::Sandbox::User \"root\";" : ""
    let list = sources.map {
      "Dir::Etc::SourceList \"\($0)\"; Dir::Etc::SourceParts \"/dev/null\";"
    }
    let text = """
      #clear Acquire::Languages;
      Acquire::Languages { "en"; "\(language)"; };
      Dir::State::Lists "\(folder)/lists";
      Dir::Cache "\(folder)/cache";
      #clear APT::Update::Pre-Invoke;
      #clear APT::Update::Post-Invoke;
      #clear APT::Update::Post-Invoke-Success;
      \(list ?? "")
      \(user)

      """
    let configuration = "\(folder)/apt.conf"
    try FileSystem.writeAtomically(Array(text.utf8), to: configuration)
    let update = try run(Self.aptGet, ["-q", "-c", configuration, "update"], scratch: folder)
    return (try fetchedLists(configuration, scratch: folder), update.complaint)
  }

  private func fetchedLists(
    _ configuration: String, scratch: String
  ) throws(Failure) -> [List] {
    let format =
      "$(CREATED_BY)\t$(LANGUAGE)\t$(SITE) $(CODENAME)/$(COMPONENT)\t$(FILENAME)\t$(CODENAME)"
      + "\t$(LABEL)\t$(REPO_URI)"
    let outcome = try run(
      Self.aptGet, ["-c", configuration, "indextargets", "--format", format], scratch: scratch)
    var lists: [List] = []
    for line in String(decoding: outcome.output, as: UTF8.self).filledLines {
      let fields = line.split(separator: "\t", omittingEmptySubsequences: false).map(String.init)
      guard fields.count == 7, let content = content(createdBy: fields[0], fields[1]) else {
        continue
      }
      let text = try run(Self.aptHelper, ["cat-file", fields[3]], scratch: scratch)
      guard text.status == 0, !text.output.isEmpty else { continue }
      lists.append(
        List(
          content: content, origin: fields[2], release: fields[4],
          mirror: fields[5] == "Debian" ? fields[6] : nil, bytes: text.output))
    }
    return lists
  }

  /// What a list holds that is of use here.
  private func content(createdBy: String, _ listLanguage: String) -> String? {
    switch (createdBy, listLanguage) {
    case ("Packages", _): "Packages"
    case ("Translations", "en"), ("Translations", language): listLanguage
    default: nil
    }
  }

  private func run(
    _ path: String, _ arguments: [String], scratch: String
  ) throws(Failure) -> ChildProgram.Outcome {
    try ChildProgram(path: path, arguments: arguments, scratch: scratch).run()
  }
}
