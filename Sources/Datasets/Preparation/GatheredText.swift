import Core
import Foundation

/// The text of a preparation, as files that can be read from any place, with where it comes from.
struct GatheredText: Codable, Sendable {
  /// In the order of their pairs: training, validation, test, items.
  var texts: [PairedText] = []
  var languages = Languages(source: "", target: "")
  /// One line per origin.
  var provenance: [String] = []
  var licenceNote = ""
  var overlap = Corpus.Overlap.leavesTraining
  var leavesOutUntranslated = false

  init() {}

  /// Gathers it, with copies in a folder where need be.
  ///
  /// Throws: `Failure` (.missingInput, .badData, .cannotCreate, .inputOutput).
  init(
    of preparation: Preparation, in folder: String, team: Team, say: @escaping (String) -> Void
  ) throws(Failure) {
    self.init()
    switch preparation.origin {
    case .files(let training, let heldOut, _, let languages):
      var inputs = training.map { (split: Split.training, input: $0) }
      for split in Split.allCases {
        if let input = heldOut[split] { inputs.append((split, input)) }
      }
      say("reading " + inputs.flatMap(\.input.paths).joined(separator: ", "))
      let work = inputs
      let opened = try team.run(
        StageProgress("reading files", inputs.map { Self.byteCount($0.input) }, say: say)
      ) { (task, _) throws(Failure) -> TextInput.Opened in
        try work[task].input.open(
          split: work[task].split, languages: languages, place: "\(folder)/input-\(task)")
      }
      for ((split, input), opened) in zip(inputs, opened) {
        texts.append(opened.text)
        if !opened.notice.isEmpty { say(opened.notice) }
        for (path, digest) in zip(input.paths, opened.digests) {
          // Without its folder: the same text gives the same dataset wherever it lies.
          let name =
            path == TextInput.standardInput
            ? "standard input" : URL(fileURLWithPath: path).lastPathComponent
          provenance.append("\(split.rawValue): \(name), XXH3 \(digest)")
        }
      }
      self.languages = languages
      licenceNote = "that of the text files"
    case .debianDescriptions(let language):
      // apt takes other paths that do not begin at the root to begin at its own folders.
      let apt = (folder.utf8.first == UInt8(ascii: "/") ? "" : "./") + "\(folder)/apt"
      try FileSystem.createFolder(apt)
      let corpus = try DebianArchive(language: language).corpus(scratch: apt, progress: say)
      try? FileSystem.remove(apt)
      try take(corpus, named: "descriptions", in: folder)
    case .corpus(let corpus):
      try take(corpus, named: "text", in: folder)
    }
  }

  /// Of the files as they lie; 0 for pipes.
  private static func byteCount(_ input: TextInput) -> Int {
    input.paths.reduce(0) { $0 + ((try? FileSystem.byteCount(of: $1)) ?? 0) }
  }

  /// Writes a text that is in memory to files.
  private mutating func take(
    _ corpus: Corpus, named name: String, in folder: String
  ) throws(Failure) {
    let parts =
      Split.allCases.map { (split: Optional($0), pairs: corpus.pairs[$0, default: []]) }
      + [(nil, corpus.items)]
    for (split, pairs) in parts where !pairs.isEmpty {
      let place = "\(folder)/input-\(split?.rawValue ?? "items")"
      let outputs = [try OutputFile("\(place).source"), try OutputFile("\(place).target")]
      for pair in pairs {
        try outputs[0].writeLine(Array(pair.source.utf8))
        try outputs[1].writeLine(Array(pair.target.utf8))
      }
      for output in outputs { try output.flush() }
      let files = ["source", "target"].map {
        TextFile(
          path: "\(place).\($0)", name: "\(name) (\(split?.rawValue ?? "items"))", unit: "pair")
      }
      texts.append(
        PairedText(source: files[0], target: files[1], split: split, isOneFile: true))
    }
    languages = corpus.languages
    provenance = corpus.provenance
    licenceNote = corpus.licenceNote
    overlap = corpus.overlap
    leavesOutUntranslated = corpus.leavesOutUntranslated
  }
}
