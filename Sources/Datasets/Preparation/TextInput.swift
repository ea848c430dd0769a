import Core
import Foundation
import HDF5

/// Parallel text as a person names it: any file may be compressed by gzip, or a pipe.
package enum TextInput: Sendable, Equatable {
  /// Two files, line i of one the translation of line i of the other.
  case files(source: String, target: String)
  /// One file with a pair a line, a tab between its sides; `-` is standard input.
  case table(String)
  /// Translation memory: XML with a unit for each pair.
  case memory(String)

  /// What a single name means: a table (`.tsv`, `-`), a translation memory (`.tmx`), or what is
  /// before the languages in the names of two files.
  package static func named(_ name: String, languages: Languages) -> TextInput {
    let plain = name.hasSuffix(".gz") ? String(name.dropLast(3)) : name
    if name == standardInput || plain.hasSuffix(".tsv") { return .table(name) }
    if plain.hasSuffix(".tmx") { return .memory(name) }
    func side(_ language: String) -> String {
      let path = "\(name).\(language)"
      return !FileSystem.exists(path) && FileSystem.exists(path + ".gz") ? path + ".gz" : path
    }
    return .files(source: side(languages.source), target: side(languages.target))
  }

  package static let standardInput = "-"

  /// The files it comes from.
  var paths: [String] {
    switch self {
    case .files(let source, let target): [source, target]
    case .table(let path), .memory(let path): [path]
    }
  }

  /// The text as it can be read from any place, and the digests of the files as they were given.
  struct Opened: Codable, Sendable {
    var text: PairedText
    var digests: [String]
    /// Something a person should know; empty otherwise.
    var notice = ""
  }

  /// Copies into files `<place>.source` and `<place>.target` what cannot be read from any place or
  /// is no text of lines.
  ///
  /// Throws: `Failure` (.missingInput, .badData with file and line, .inputOutput).
  func open(
    split: Split, languages: Languages, place: String
  ) throws(Failure) -> Opened {
    let copies = ["\(place).source", "\(place).target"]
    switch self {
    case .files(let source, let target):
      var files: [TextFile] = []
      var digests: [String] = []
      for (path, copy) in zip([source, target], copies) {
        var input = try InputBytes(path)
        if input.canBeReadAnywhere {
          files.append(TextFile(path: path, name: path))
          while try !input.next().isEmpty {}
        } else {
          let output = try OutputFile(copy)
          try input.forEach { (bytes) throws(Failure) in try output.write(bytes) }
          try output.flush()
          files.append(TextFile(path: copy, name: input.name))
        }
        digests.append("\(input.digest)")
      }
      return Opened(
        text: PairedText(source: files[0], target: files[1], split: split), digests: digests)
    case .table(let path):
      var input = try InputBytes(path)
      var table = try PairTable(name: input.name, outputs: copies)
      try input.forEach { (bytes) throws(Failure) in try table.add(bytes) }
      try table.finish()
      return opened(input.name, "line", split, copies, "\(input.digest)")
    case .memory(let path):
      var input = try InputBytes(path)
      var memory = try TranslationMemory(
        name: input.name, languages: languages, outputs: copies)
      try input.forEach { (bytes) throws(Failure) in try memory.add(bytes) }
      var result = opened(input.name, "unit", split, copies, "\(input.digest)")
      result.notice = try memory.finish()
      return result
    }
  }

  private func opened(
    _ name: String, _ unit: String, _ split: Split, _ copies: [String], _ digest: String
  ) -> Opened {
    let files = copies.map { TextFile(path: $0, name: name, unit: unit) }
    return Opened(
      text: PairedText(source: files[0], target: files[1], split: split, isOneFile: true),
      digests: [digest])
  }
}

/// The bytes of a file, a pipe or standard input, from the beginning to the end.
private struct InputBytes: ~Copyable {
  let name: String
  private let descriptor: Int32
  private let isRegular: Bool
  private var stream: DigestStream
  private var inflation: Inflation?
  /// The beginning, which tells whether it is compressed.
  private var first: [UInt8]?

  init(_ path: String) throws(Failure) {
    let isStandard = path == TextInput.standardInput
    let name = isStandard ? "standard input" : path
    let opened = isStandard ? dup(STDIN_FILENO) : Glibc.open(path, O_RDONLY | O_CLOEXEC)
    guard opened >= 0 else {
      throw FileSystem.failure(
        errno == ENOENT || errno == ENOTDIR ? .missingInput : .inputOutput, "open", path)
    }
    var status = stat()
    guard fstat(opened, &status) == 0, status.st_mode & S_IFMT != S_IFDIR else {
      close(opened)
      throw Failure(.missingInput, "\(path): expected a file, found a folder")
    }
    let beginning: [UInt8]
    do throws(Failure) {
      beginning = try Self.read(opened, byteCount: 1 << 16, name: name)
    } catch {
      close(opened)
      throw error
    }
    let stream = try DigestStream()
    let inflation = beginning.starts(with: Inflation.magic) ? try Inflation(path: name) : nil
    isRegular = status.st_mode & S_IFMT == S_IFREG && !isStandard
    self.name = name
    descriptor = opened
    first = beginning
    self.stream = stream
    self.inflation = inflation
  }

  deinit { close(descriptor) }

  var canBeReadAnywhere: Bool { isRegular && inflation == nil }
  var digest: Digest { stream.digest }

  /// The next bytes as they come; none at the end.
  mutating func next() throws(Failure) -> [UInt8] {
    let bytes: [UInt8]
    if let first {
      bytes = first
      self.first = nil
    } else {
      bytes = try Self.read(descriptor, byteCount: 1 << 18, name: name)
    }
    stream.add(bytes[...])
    return bytes
  }

  /// Hands over all bytes, uncompressed.
  mutating func forEach(
    _ body: (ArraySlice<UInt8>) throws(Failure) -> Void
  ) throws(Failure) {
    while true {
      let bytes = try next()
      if bytes.isEmpty { break }
      if inflation != nil {
        try inflation?.add(bytes, body)
      } else {
        try body(bytes[...])
      }
    }
    try inflation?.finish()
  }

  /// At least four bytes unless there are no more.
  private static func read(
    _ descriptor: Int32, byteCount: Int, name: String
  ) throws(Failure) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: byteCount)
    var done = 0
    while done < 4 {
      let start = done
      let count = bytes.withUnsafeMutableBytes {
        Glibc.read(descriptor, $0.baseAddress?.advanced(by: start), $0.count - start)
      }
      if count == 0 { break }
      if count < 0 {
        if errno == EINTR { continue }
        throw FileSystem.failure(.inputOutput, "read", name)
      }
      done += count
    }
    bytes.removeLast(bytes.count - done)
    return bytes
  }
}

/// Pairs in a table of two columns, taken apart into a file for each.
struct PairTable {
  private let name: String
  private let outputs: [OutputFile]
  private var line: [UInt8] = []
  private var lineCount = 0
  private var isFirst = true

  init(name: String, outputs: [String]) throws(Failure) {
    self.name = name
    self.outputs = try outputs.map { (path) throws(Failure) in try OutputFile(path) }
  }

  /// Throws: `Failure` (.badData) for a line without two columns, with its number.
  mutating func add(_ bytes: ArraySlice<UInt8>) throws(Failure) {
    if isFirst, let encoding = LineTable.otherEncoding(Array(bytes.prefix(1024))) {
      throw Failure(.badData, TextFile.refusal(of: encoding, name: name))
    }
    isFirst = false
    var rest = bytes
    while let end = rest.firstIndex(of: UInt8(ascii: "\n")) {
      line.append(contentsOf: rest[..<end])
      try endLine()
      rest = rest[(end + 1)...]
    }
    line.append(contentsOf: rest)
  }

  mutating func finish() throws(Failure) {
    if !line.isEmpty { try endLine() }
    for output in outputs { try output.flush() }
  }

  private mutating func endLine() throws(Failure) {
    lineCount += 1
    if line.last == UInt8(ascii: "\r") { line.removeLast() }
    let columns = line.split(separator: UInt8(ascii: "\t"), omittingEmptySubsequences: false)
    guard columns.count == 2 || line.isEmpty else {
      throw Failure(
        .badData,
        "\(name): line \(lineCount): expected two columns with a tab between them, found"
          + " \(columns.count)")
    }
    for (output, column) in zip(outputs, line.isEmpty ? [[], []] : columns) {
      try output.writeLine(Array(column))
    }
    line.removeAll(keepingCapacity: true)
  }
}

extension TextFile {
  /// Why text in another encoding is not read, and how to convert it.
  static func refusal(of encoding: String, name: String) -> String {
    "\(name): expected UTF-8 text, found \(encoding); convert it, for example with iconv -f"
      + " \(encoding) -t UTF-8"
  }
}
