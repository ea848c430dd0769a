import Core
import Foundation
import HDF5
import Testing

/// A folder of its own for a test, removed at the end of `body`.
func withTemporaryFolder(_ body: (String) throws -> Void) throws {
  let folder = FileManager.default.temporaryDirectory.appendingPathComponent(
    "hdf5-tests-\(UUID().uuidString)")
  try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
  defer { try? FileManager.default.removeItem(at: folder) }
  try body(folder.path)
}

/// Numbers that look random to a filter and are the same every time.
func scrambled(_ count: Int) -> [UInt64] {
  (0..<UInt64(count)).map { ($0 &+ 1) &* 0x9e37_79b9_7f4a_7c15 }
}

@Suite struct FileTests {
  @Test(arguments: [Storage.contiguous, .compressed])
  func everyElementTypeComesBackAsItWas(storage: Storage) throws {
    try withTemporaryFolder { folder in
      let path = folder + "/types.h5"
      let bits = scrambled(105)
      let doubles = bits.map { Double($0) / 7 } + [.infinity, -0.0]
      do {
        let file = try File.create(at: path)
        try file.write(bits.map { UInt8(truncatingIfNeeded: $0) }, to: "/u8", storage: storage)
        try file.write(bits.map { UInt16(truncatingIfNeeded: $0) }, to: "/u16", storage: storage)
        try file.write(
          bits.map { Int32(truncatingIfNeeded: $0) }, shape: [3, 5, 7], to: "/a/b/i32",
          storage: storage)
        try file.write(bits.map { Int64(bitPattern: $0) }, to: "/i64", storage: storage)
        try file.write(bits, to: "/u64", storage: storage)
        try file.write(doubles.map { Float($0) }, to: "/f32", storage: storage)
        try file.write(doubles, to: "/f64", storage: storage)
        try file.write([Float](), to: "/empty", storage: storage)
        try file.write([Int64(-3)], shape: [], to: "/scalar", storage: storage)
        try file.close()
      }
      let file = try StoredFile.open(path)
      #expect(try file.read("/u8") == bits.map { UInt8(truncatingIfNeeded: $0) })
      #expect(try file.read("/u16") == bits.map { UInt16(truncatingIfNeeded: $0) })
      #expect(try file.read("/a/b/i32") == bits.map { Int32(truncatingIfNeeded: $0) })
      #expect(try file.dataset("/a/b/i32").shape == [3, 5, 7])
      #expect(try file.read("/i64") == bits.map { Int64(bitPattern: $0) })
      #expect(try file.read("/u64") == bits)
      let floats: [Float] = try file.read("/f32")
      #expect(floats.map(\.bitPattern) == doubles.map { Float($0).bitPattern })
      #expect(try file.read("/f64", as: Double.self).map(\.bitPattern) == doubles.map(\.bitPattern))
      #expect(try file.read("/empty", as: Float.self).isEmpty)
      #expect(try file.read("/scalar") == [Int64(-3)])
    }
  }

  @Test func aConversionThatCouldLoseValuesIsRefused() throws {
    try withTemporaryFolder { folder in
      let path = folder + "/types.h5"
      let file = try File.create(at: path)
      try file.write([Int64(1)], to: "/wide")
      try file.close()
      let stored = try StoredFile.open(path)
      let found = failure { _ = try stored.read("/wide", as: Int32.self) }
      let expected = "\(path): /wide: holds int64 elements where int32 ones were expected"
      #expect(found?.message == expected)
      #expect(throws: Failure.self) { _ = try stored.read("/wide", as: UInt64.self) }
      #expect(throws: Failure.self) { _ = try stored.read("/wide", as: Double.self) }
    }
  }

  @Test func attributesAndTextsComeBackAsTheyWere() throws {
    try withTemporaryFolder { folder in
      let path = folder + "/texts.h5"
      let long = String(repeating: "Käse — 乳酪\n", count: 20_000)
      do {
        let file = try File.create(at: path)
        try file.setAttribute("signed", to: .signed(.min))
        try file.setAttribute("unsigned", to: .unsigned(.max))
        try file.setAttribute("real", to: .real(0.1))
        try file.createGroup("/one/two")
        try file.setAttribute("text", of: "/one/two", to: .text("größer"))
        try file.setAttribute("empty", of: "/one/two", to: .text(""))
        try file.writeText(long, to: "/configuration/yaml")
        try file.writeTexts(["a", "", "ß"], to: "/preview")
        try file.writeTexts([], to: "/none")
        try file.close()
      }
      let file = try StoredFile.open(path)
      #expect(file.attribute("signed") == .signed(.min))
      #expect(file.attribute("unsigned") == .unsigned(.max))
      #expect(file.attribute("real") == .real(0.1))
      #expect(file.attribute("text", of: "/one/two") == .text("größer"))
      #expect(file.attribute("empty", of: "/one/two") == .text(""))
      #expect(file.attribute("absent") == nil)
      #expect(file.attributeNames() == ["real", "signed", "unsigned"])
      #expect(throws: Failure.self) { _ = try file.integerAttribute("real") }
      #expect(throws: Failure.self) { _ = try file.integerAttribute("unsigned") }
      #expect(try file.readText("/configuration/yaml") == long)
      #expect(try file.readTexts("/preview") == ["a", "", "ß"])
      #expect(try file.readTexts("/none") == [])
      #expect(throws: Failure.self) { _ = try file.readText("/preview") }
      #expect(file.children() == ["configuration", "none", "one", "preview"])
      #expect(file.contains("/one/two"))
      #expect(!file.contains("/two/one"))
    }
  }

  @Test func textWithANulIsRefusedInsteadOfCutOff() throws {
    let file = try File.createInMemory(named: "nul")
    #expect(throws: Failure.self) { try file.writeText("a\0b", to: "/text") }
  }

  @Test func theTreeNamesEveryObjectWithItsShapeAndType() throws {
    try withTemporaryFolder { folder in
      let path = folder + "/tree.h5"
      let file = try File.create(at: path)
      try file.write([Float](repeating: 1, count: 6), shape: [2, 3], to: "/b/c/weight")
      try file.writeText("x", to: "/a")
      try file.close()
      let nodes = try StoredFile.open(path).tree()
      #expect(nodes.map(\.path) == ["/a", "/b", "/b/c", "/b/c/weight"])
      #expect(nodes.map(\.kind) == [.dataset, .group, .group, .dataset])
      #expect(nodes.map(\.type) == [.string, nil, nil, .float32])
      #expect(nodes.last?.shape == [2, 3])
    }
  }

  @Test func namesThatLookAlikeAreTwo() throws {
    try withTemporaryFolder { folder in
      let path = folder + "/names.h5"
      let (composed, decomposed) = ("\u{e9}", "e\u{301}")
      try #require(composed == decomposed)
      let file = try File.create(at: path)
      for (value, name) in [composed, decomposed].enumerated() {
        try file.setAttribute(name, to: .signed(Int64(value)))
        try file.write([Int64(value)], to: "/\(name)/\(name)")
      }
      try file.close()
      let stored = try StoredFile.open(path)
      for (value, name) in [composed, decomposed].enumerated() {
        #expect(try stored.read("/\(name)/\(name)") == [Int64(value)])
        #expect(stored.attribute(name) == .signed(Int64(value)))
        #expect(stored.children(of: "/" + name).map { Array($0.utf8) } == [Array(name.utf8)])
      }
      #expect(stored.children().count == 2)
    }
  }

  @Test func anyRangeOfAnyRankReadsAsTheSliceOfTheWhole() throws {
    try withTemporaryFolder { folder in
      let path = folder + "/ranges.h5"
      let shapes = [[1], [7], [2, 3], [3, 1, 5], [2, 3, 2, 2], [3, 140_000], [300_001]]
      let file = try File.createInMemory(named: path)
      var expected: [String: [UInt16]] = [:]
      for (index, shape) in shapes.enumerated() {
        let values = scrambled(shape.reduce(1, *)).map { UInt16(truncatingIfNeeded: $0 >> 40) }
        for storage in [Storage.contiguous, .compressed] {
          let name = "/\(storage)/\(index)"
          try file.write(values, shape: shape, to: name, storage: storage)
          expected[name] = values
        }
      }
      try FileSystem.writeAtomically(try file.closeAndReturnImage(), to: path)
      let stored = try StoredFile.open(path)
      for (name, values) in expected {
        let dataset = try stored.dataset(name)
        let (count, wide) = (values.count, values.map { Int32($0) })
        #expect(try dataset.read() == values)
        #expect(try dataset.read() == wide)
        let ends = count < 30 ? Array(0...count) : [0, 1, 131_071, 131_073, 139_999, count]
        for start in ends {
          for end in ends where end >= start {
            #expect(try dataset.read(start..<end) == Array(values[start..<end]))
            #expect(try dataset.read(start..<end) == Array(wide[start..<end]))
          }
        }
      }
    }
  }

  @Test func equalContentsGiveEqualBytes() throws {
    func image() throws -> [UInt8] {
      let file = try File.createInMemory(named: "twin")
      try file.write([UInt16](0..<1000), to: "/source/tokens", storage: .compressed)
      try file.setAttribute("count", of: "/source", to: .signed(1000))
      try file.writeTexts(["eins", "zwei"], to: "/preview")
      return try file.closeAndReturnImage()
    }
    #expect(try image() == image())
  }

  @Test func anImageWrittenToDiskIsTheFile() throws {
    try withTemporaryFolder { folder in
      let path = folder + "/image.h5"
      let file = try File.createInMemory(named: path)
      try file.write([Int32(7), -8], to: "/x")
      try FileSystem.writeAtomically(try file.closeAndReturnImage(), to: path)
      #expect(try StoredFile.open(path).read("/x") == [Int32(7), -8])
    }
  }

  @Test func reservedDatasetsLieAlignedAtTheirOffsets() throws {
    try withTemporaryFolder { folder in
      let path = folder + "/skeleton.h5"
      let file = try File.create(
        at: path,
        placement: .init(
          metadataBlockByteCount: 1 << 20, alignment: 4096, alignmentThreshold: 1))
      let offset = try #require(try file.reserve(.float32, shape: [3, 5], at: "/weights/x"))
      #expect(offset % 4096 == 0)
      #expect(try file.reserve(.float32, shape: [0], at: "/weights/empty") == nil)
      try file.close()
      let values = (0..<15).map { Float($0) }
      let descriptor = Foundation.open(path, O_WRONLY)
      #expect(
        values.withUnsafeBytes { pwrite(descriptor, $0.baseAddress, 60, off_t(offset)) } == 60)
      #expect(Foundation.close(descriptor) == 0)
      let dataset = try StoredFile.open(path).dataset("/weights/x")
      #expect(try dataset.read() == values)
      #expect(dataset.offset == offset)
    }
  }
}
