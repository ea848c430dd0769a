import Core
import Foundation
import HDF5
import Testing

/// What a reader of any kind does with a file: opens it, walks over it and reads everything.
///
/// Throws: the first failure.
@discardableResult
func readEverything(_ path: String) throws -> [Node] {
  let file = try StoredFile.open(path)
  let nodes = file.tree()
  for node in nodes where node.kind == .dataset {
    if node.type == .string {
      _ = try file.readTexts(node.path)
      continue
    }
    let dataset = try file.dataset(node.path)
    if dataset.type.isFloat || dataset.type == .uint64 {
      if dataset.type == .uint64 {
        _ = try dataset.read(as: UInt64.self)
      } else {
        _ = try dataset.read(as: Double.self)
      }
    } else {
      _ = try dataset.read(as: Int64.self)
    }
  }
  return nodes
}

@Suite struct HostileFileTests {
  @Test(
    arguments: HostileFiles.storage + HostileFiles.types + HostileFiles.links
      + HostileFiles.proportions)
  func aFileMadeToDoHarmIsRefusedOrListed(idea: HostileFiles.Idea) throws {
    try withTemporaryFolder { folder in
      let path = try HostileFiles.write(idea, in: folder)
      let found = failure { try readEverything(path) }
      if let refusal = idea.refusal {
        #expect(found?.exitCode == .badData)
        #expect(found?.message.contains(refusal) == true, "\(found?.message ?? "none")")
      } else {
        #expect(found == nil)
        #expect(try StoredFile.open(path).tree().contains { $0.kind != .dataset })
      }
      let words = found?.message ?? ""
      #expect(!words.contains("\n") && !words.contains("\u{1b}") && !words.contains("secret!!"))
    }
  }

  @Test func whatIsNotARegularFileIsRefusedWithoutWaiting() throws {
    try withTemporaryFolder { folder in
      let file = try File.create(at: folder + "/real.h5")
      try file.write([Float(1)], to: "/x")
      try file.close()
      #expect(symlink(folder + "/real.h5", folder + "/link.h5") == 0)
      #expect(mkfifo(folder + "/pipe.h5", 0o600) == 0)
      for path in ["\(folder)/link.h5", "\(folder)/pipe.h5", folder, "/dev/zero"] {
        #expect(failure { _ = try StoredFile.open(path) }?.exitCode == .badData, "\(path)")
      }
      #expect(try StoredFile.open(folder + "/real.h5").read("/x") == [Float(1)])
    }
  }
}

/// Numbers from a seed, the same everywhere.
struct SplitMix: RandomNumberGenerator {
  var state: UInt64

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var bits = state
    bits = (bits ^ bits >> 30) &* 0xbf58_476d_1ce4_e5b9
    bits = (bits ^ bits >> 27) &* 0x94d0_49bb_1331_11eb
    return bits ^ bits >> 31
  }
}

/// Random damage; `LOCKSTEP_MUTATIONS` sets how many files (2,000 before a release).
@Suite struct MutationTests {
  private static let count =
    ProcessInfo.processInfo.environment["LOCKSTEP_MUTATIONS"].flatMap { Int($0) } ?? 200

  /// What is in a checkpoint and in a shard, small.
  private static func image(_ name: String) throws -> [UInt8] {
    let file = try File.createInMemory(named: name)
    try file.setAttribute("format", to: .text("lockstep-checkpoint"))
    try file.setAttribute("step", to: .signed(7))
    try file.write((0..<60).map { Float($0) }, shape: [5, 12], to: "/parameters/a/weight")
    try file.write((0..<7).map { Float($0) }, to: "/parameters/b")
    try file.writeTexts(["a/weight", "b"], to: "/state/tensor_order")
    try file.setAttribute("lanes", of: "/state", to: .unsigned(8))
    try file.writeText("seed: 1\n", to: "/configuration/yaml")
    try file.write(
      (0..<500).map { UInt16($0) }, to: "/source/tokens", storage: .compressed)
    try file.write((0..<40).map { UInt64($0) }, to: "/source/offsets", storage: .compressed)
    return try file.closeAndReturnImage()
  }

  private static func mutate(
    _ image: [UInt8], _ random: inout SplitMix
  ) -> [UInt8] {
    var bytes = image
    switch Int.random(in: 0..<4, using: &random) {
    case 0:
      let bit = Int.random(in: 0..<bytes.count * 8, using: &random)
      bytes[bit / 8] ^= 1 << (bit % 8)
    case 1:
      for _ in 0..<Int.random(in: 1...8, using: &random) {
        bytes[Int.random(in: 0..<bytes.count, using: &random)] = .random(
          in: 0...255, using: &random)
      }
    case 2:
      let special: [UInt8] = [0, 1, 0x7f, 0x80, 0xff]
      let start = Int.random(in: 0..<bytes.count - 8, using: &random)
      let value = special[Int.random(in: 0..<special.count, using: &random)]
      for index in start..<start + Int.random(in: 1...8, using: &random) { bytes[index] = value }
    default: bytes.removeLast(Int.random(in: 1..<bytes.count, using: &random))
    }
    return bytes
  }

  @Test(arguments: [1, 2]) func everyDamageEndsInAListingOrATypedError(half: Int) throws {
    let image = try Self.image("whole-\(half)")
    var random = SplitMix(state: UInt64(half))
    var endings: [String: Int] = [:]
    try withTemporaryFolder { folder in
      let path = folder + "/mutant.h5"
      try FileSystem.writeAtomically(image, to: path)
      try readEverything(path)
      for index in 0..<Self.count / 2 {
        let bytes = Self.mutate(image, &random)
        guard FileManager.default.createFile(atPath: path, contents: Data(bytes)) else {
          throw Failure(.cannotCreate, path)
        }
        let found = failure { try readEverything(path) }
        let isHonest = found == nil || found?.exitCode == .badData
        #expect(isHonest, "half \(half), mutation \(index): \(found?.message ?? "")")
        let message = found?.message ?? ""
        let ending =
          found == nil
          ? "read"
          : message.contains("crash")
            ? "reader died"
            : message.contains("took more")
              ? "reader hung" : "refused"
        endings[ending, default: 0] += 1
      }
    }
    #expect(endings.values.reduce(0, +) == Self.count / 2)
    #expect((endings["read"] ?? 0) > 0 && (endings["refused"] ?? 0) > 0, "\(endings)")
    if let path = ProcessInfo.processInfo.environment["LOCKSTEP_MUTATIONS_LOG"] {
      try FileSystem.writeAtomically(Array("\(endings)\n".utf8), to: "\(path)-\(half)")
    }
  }
}
