import CHDF5
import Core
import Foundation
import HDF5
import Testing

/// Datasets as other software stores them: in tiles of any shape, behind a user block, in part
/// never written.
@Suite struct ChunkTests {
  private struct CannotMake: Error {}
  private static let none = lockstep_default()

  private enum Filters: CaseIterable {
    case none, deflate, all

    func add(to list: hid_t) -> [herr_t] {
      switch self {
      case .none: []
      case .deflate: [H5Pset_deflate(list, 4)]
      case .all: [H5Pset_shuffle(list), H5Pset_deflate(list, 4), H5Pset_fletcher32(list)]
      }
    }
  }

  private static func check(_ codes: herr_t...) throws {
    guard codes.allSatisfy({ $0 >= 0 }) else { throw CannotMake() }
  }

  private static func create(_ path: String, userBlock: UInt64 = 0) throws -> hid_t {
    let creation = H5Pcreate(lockstep_file_create())
    try check(H5Pset_userblock(creation, userBlock))
    let file = H5Fcreate(path, lockstep_truncate(), creation, none)
    guard file >= 0 else { throw CannotMake() }
    try check(H5Pclose(creation))
    return file
  }

  /// Writes a box of `values`, which are those of the whole array; all of it where there is none.
  private static func write(
    _ values: [UInt16], shape: [Int], chunk: [Int]? = nil, filters: Filters = .none,
    fill: UInt16? = nil, box: [Range<Int>]? = nil, to name: String, in file: hid_t
  ) throws {
    let list = H5Pcreate(lockstep_dataset_create())
    if let chunk {
      try check(H5Pset_chunk(list, Int32(chunk.count), chunk.map { hsize_t($0) }))
      for code in filters.add(to: list) { try check(code) }
    }
    if var fill { try check(H5Pset_fill_value(list, lockstep_std_u16(), &fill)) }
    let most = [hsize_t](repeating: hsize_t.max, count: shape.count)
    let space = H5Screate_simple(
      Int32(shape.count), shape.map { hsize_t($0) }, chunk == nil ? nil : most)
    let dataset = H5Dcreate2(file, name, lockstep_std_u16(), space, none, list, none)
    guard dataset >= 0 else { throw CannotMake() }
    let box = box ?? shape.map { 0..<$0 }
    if box.allSatisfy({ !$0.isEmpty }) {
      try check(
        H5Sselect_hyperslab(
          space, H5S_SELECT_SET, box.map { hsize_t($0.lowerBound) }, nil,
          box.map { hsize_t($0.count) }, nil),
        H5Dwrite(dataset, lockstep_std_u16(), space, space, none, values))
    }
    try check(H5Dclose(dataset), H5Sclose(space), H5Pclose(list))
  }

  private static func values(_ shape: [Int]) -> [UInt16] {
    scrambled(shape.reduce(1, *)).map { UInt16(truncatingIfNeeded: $0 >> 40) }
  }

  private static let forms: [(shape: [Int], chunks: [[Int]])] = [
    ([1], [[1], [4]]),
    ([13], [[1], [4], [13], [20]]),
    ([5, 7], [[1, 1], [2, 3], [1, 3], [5, 2], [2, 7], [1, 7], [4, 9], [9, 4], [5, 7]]),
    ([1, 9], [[1, 4], [3, 4]]),
    (
      [3, 4, 5],
      [[1, 1, 1], [2, 3, 2], [1, 3, 2], [1, 1, 2], [2, 4, 5], [2, 4, 2], [3, 1, 5]]
    ),
    ([2, 1, 3, 4], [[1, 1, 2, 3], [2, 2, 2, 2], [1, 1, 1, 4], [2, 1, 3, 2]]),
    ([2, 2, 2, 3, 2], [[1, 2, 1, 2, 1], [2, 1, 2, 2, 2]]),
  ]

  /// Every range of every array, as a contiguous copy would give it.
  @Test(arguments: [0, 512, 2048])
  func anyRangeOfAnyTilesReadsAsTheSliceOfTheWhole(userBlock: UInt64) throws {
    try withTemporaryFolder { folder in
      let path = folder + "/tiles.h5"
      let file = try Self.create(path, userBlock: userBlock)
      var expected: [String: [UInt16]] = [:]
      for (shape, chunks) in Self.forms {
        let values = Self.values(shape)
        let text = shape.map(String.init).joined(separator: "x")
        try Self.write(values, shape: shape, to: "/\(text)", in: file)
        expected["/\(text)"] = values
        for chunk in chunks {
          for filters in Filters.allCases {
            let name = "/\(text) by \(chunk) \(filters)"
            try Self.write(values, shape: shape, chunk: chunk, filters: filters, to: name, in: file)
            expected[name] = values
          }
        }
      }
      try Self.check(H5Fclose(file))
      let stored = try StoredFile.open(path)
      try #require(stored.tree().count == expected.count)
      for (name, values) in expected {
        let dataset = try stored.dataset(name)
        #expect(try dataset.read() == values, "\(name)")
        let wide = values.map { Int32($0) }
        for start in 0..<values.count {
          for end in start...values.count {
            let found = try dataset.read(start..<end, as: UInt16.self)
            #expect(found == Array(values[start..<end]), "\(name) \(start)..<\(end)")
          }
          #expect(try dataset.read(start..<values.count) == Array(wide[start...]), "\(name)")
        }
      }
    }
  }

  @Test func whatWasNeverWrittenReadsAsTheFillValue() throws {
    try withTemporaryFolder { folder in
      let path = folder + "/sparse.h5"
      let file = try Self.create(path)
      let shape = [7, 10]
      let values = Self.values(shape)
      let boxes: [[Range<Int>]] = [
        [0..<0, 0..<0], [0..<3, 0..<4], [4..<7, 3..<5], [2..<4, 0..<10],
      ]
      var expected: [String: [UInt16]] = [:]
      for (index, box) in boxes.enumerated() {
        for fill in [nil, 0xabcd] as [UInt16?] {
          let isInside = (0..<70).map { box[0].contains($0 / 10) && box[1].contains($0 % 10) }
          let whole = zip(values, isInside).map { $1 ? $0 : fill ?? 0 }
          for chunk in [nil, [3, 4], [1, 10], [2, 10], [9, 3]] {
            for filters in Filters.allCases where chunk != nil || filters == .none {
              let name = "/\(index) \(chunk ?? []) \(fill ?? 0) \(filters)"
              try Self.write(
                values, shape: shape, chunk: chunk, filters: filters, fill: fill, box: box,
                to: name, in: file)
              expected[name] = whole
            }
          }
        }
      }
      try Self.check(H5Fclose(file))
      let stored = try StoredFile.open(path)
      for (name, values) in expected {
        let dataset = try stored.dataset(name)
        #expect(try dataset.read() == values, "\(name)")
        for start in stride(from: 0, to: 70, by: 9) {
          #expect(try dataset.read(start..<70) == Array(values[start...]), "\(name)")
        }
      }
    }
  }

  @Test func whatHasNoValueUntilItIsWrittenIsADefect() throws {
    try withTemporaryFolder { folder in
      let path = folder + "/undefined.h5"
      let file = try Self.create(path)
      let list = H5Pcreate(lockstep_dataset_create())
      try Self.check(H5Pset_chunk(list, 2, [2, 2]), H5Pset_fill_time(list, H5D_FILL_TIME_NEVER))
      let space = H5Screate_simple(2, [4, 4], nil)
      let dataset = H5Dcreate2(file, "/x", lockstep_std_u16(), space, Self.none, list, Self.none)
      try Self.check(H5Dclose(dataset), H5Sclose(space), H5Pclose(list), H5Fclose(file))
      let found = failure { _ = try StoredFile.open(path).read("/x", as: UInt16.self) }
      #expect(found?.exitCode == .badData)
      #expect(found?.message.contains("far too few bytes") == true, "\(found?.message ?? "none")")
    }
  }

  /// The index of the chunks is asked, not gone through for each of them: 40,000 took a quarter of
  /// a minute, and the reader has five seconds.
  @Test func manyTilesAreFoundInTime() throws {
    try withTemporaryFolder { folder in
      let path = folder + "/many.h5"
      let file = try Self.create(path)
      let values = Self.values([400, 400])
      try Self.write(values, shape: [400, 400], chunk: [2, 2], to: "/x", in: file)
      try Self.check(H5Fclose(file))
      #expect(try StoredFile.open(path).read("/x") == values)
    }
  }

  @Test func manyTilesThatWereNeverWrittenAreFoundInTime() throws {
    try withTemporaryFolder { folder in
      let path = folder + "/sparse.h5"
      let file = try Self.create(path)
      let values = Self.values([512, 512])
      try Self.write(
        values, shape: [512, 512], chunk: [2, 2], fill: 7, box: [0..<512, 0..<256], to: "/x",
        in: file)
      try Self.check(H5Fclose(file))
      let expected = values.enumerated().map { $0.offset % 512 < 256 ? $0.element : 7 }
      #expect(try StoredFile.open(path).read("/x") == expected)
    }
  }

  @Test func aDamagedTileIsNamedByItsPlace() throws {
    try withTemporaryFolder { folder in
      let path = folder + "/damaged.h5"
      let file = try Self.create(path, userBlock: 512)
      let values = [UInt16](repeating: 0x5a5a, count: 64 * 64)
      try Self.write(
        values, shape: [64, 64], chunk: [16, 16], filters: .none, to: "/plain", in: file)
      let list = H5Pcreate(lockstep_dataset_create())
      try Self.check(H5Pset_chunk(list, 2, [16, 16]), H5Pset_fletcher32(list))
      let space = H5Screate_simple(2, [64, 64], nil)
      let dataset = H5Dcreate2(file, "/x", lockstep_std_u16(), space, Self.none, list, Self.none)
      let marked = (0..<4096).map { UInt16($0 / 64 == 20 && $0 % 64 == 40 ? 0x1234 : 0x7777) }
      try Self.check(
        H5Dwrite(dataset, lockstep_std_u16(), space, space, Self.none, marked), H5Dclose(dataset),
        H5Sclose(space), H5Pclose(list), H5Fclose(file))
      var bytes = try FileSystem.readAll(path, limit: 1 << 20)
      let place = try #require(bytes.firstRange(of: [0x77, 0x77, 0x34, 0x12])).lowerBound
      bytes[place] ^= 1
      try FileSystem.writeAtomically(bytes, to: path)
      let stored = try StoredFile.open(path)
      let found = failure { _ = try stored.read("/x", as: UInt16.self) }
      #expect(
        found?.message.contains("/x: cannot read: its chunk at [16, 32] is damaged") == true,
        "\(found?.message ?? "none")")
      #expect(try stored.read("/plain") == values)
    }
  }

  /// Where a contiguous dataset lies is told from the beginning of the file, for raw reads.
  @Test func offsetsCountFromTheBeginningOfTheFile() throws {
    try withTemporaryFolder { folder in
      let path = folder + "/block.h5"
      let file = try Self.create(path, userBlock: 1024)
      let values = Self.values([50])
      try Self.write(values, shape: [50], to: "/x", in: file)
      try Self.check(H5Fclose(file))
      let offset = try #require(try StoredFile.open(path).dataset("/x").offset)
      let bytes = try FileSystem.readAll(path, limit: 1 << 20)
      let found = bytes[offset..<offset + 100].withUnsafeBytes {
        Array($0.bindMemory(to: UInt16.self))
      }
      #expect(found == values)
    }
  }
}
