import CHDF5
import Core
import Foundation
import Testing

/// Files made to harm their reader, one idea each, by libhdf5's own C interface.
enum HostileFiles {
  struct Idea: Sendable, CustomTestStringConvertible {
    let name: String
    /// Puts the idea into an open file; `folder` holds a file `secret` that must not be read.
    let make: @Sendable (_ file: hid_t, _ folder: String) throws -> Void
    /// What is done to the bytes afterwards.
    var patch: @Sendable ([UInt8]) throws -> [UInt8] = { $0 }
    /// Part of the refusal; nil when the file is listed but what is in it is not followed.
    let refusal: String?

    var testDescription: String { name }
  }

  private struct CannotMake: Error {}

  static let secret = "secret!!secret!!"
  private static let none = lockstep_default()

  /// Writes an idea's file and returns its path.
  static func write(_ idea: Idea, in folder: String) throws -> String {
    let path = folder + "/hostile.h5"
    try FileSystem.writeAtomically(Array(secret.utf8), to: folder + "/secret")
    let creation = H5Pcreate(lockstep_file_create())
    if idea.name == "user block" { try check(H5Pset_userblock(creation, 512)) }
    let file = H5Fcreate(path, lockstep_truncate(), creation, none)
    try check(Int32(truncatingIfNeeded: file))
    try idea.make(file, folder)
    try check(H5Fclose(file))
    try check(H5Pclose(creation))
    let bytes = try FileSystem.readAll(path, limit: 1 << 30)
    try FileSystem.writeAtomically(try idea.patch(bytes), to: path)
    return path
  }

  private static func check(_ code: Int32) throws {
    if code < 0 { throw CannotMake() }
  }

  /// A dataset `/x`, with `bytes` written into its first chunk as if filtered.
  private static func dataset(
    _ file: hid_t, _ shape: [UInt64], _ type: hid_t, chunk: [UInt64] = [], rawChunk: [UInt8] = [],
    _ adjust: (hid_t) -> Int32 = { _ in 0 }
  ) throws {
    let list = H5Pcreate(lockstep_dataset_create())
    if !chunk.isEmpty { try check(H5Pset_chunk(list, Int32(chunk.count), chunk)) }
    try check(adjust(list))
    let space = H5Screate_simple(Int32(shape.count), shape, nil)
    let dataset = H5Dcreate2(file, "/x", type, space, none, list, none)
    guard dataset >= 0 else { throw CannotMake() }
    if !rawChunk.isEmpty {
      let start = [hsize_t](repeating: 0, count: shape.count)
      try check(H5Dwrite_chunk(dataset, none, 0, start, rawChunk.count, rawChunk))
    }
    for code in [H5Dclose(dataset), H5Sclose(space), H5Pclose(list)] { try check(code) }
  }

  private static func group(_ file: hid_t, _ path: String) throws {
    let links = H5Pcreate(lockstep_link_create())
    try check(H5Pset_create_intermediate_group(links, 1))
    let group = H5Gcreate2(file, path, links, none, none)
    guard group >= 0 else { throw CannotMake() }
    try check(H5Gclose(group))
    try check(H5Pclose(links))
  }

  /// Small files that say much.
  static let proportions: [Idea] = [
    Idea(
      name: "texts that take no room",
      make: { file, _ in
        try dataset(file, [1 << 20], lockstep_c_s1(), chunk: [1 << 20])
      }, refusal: "holds more text than is read"),
    Idea(
      name: "long names above many objects",
      make: { file, _ in
        let long = (0..<30).map { _ in "/" + String(repeating: "n", count: 250) }.joined()
        for index in 0..<300 { try group(file, "\(long)/\(index)") }
      }, refusal: "holds more text than is read"),
  ]

  static let storage: [Idea] = [
    Idea(
      name: "external storage",
      make: { file, folder in
        try dataset(file, [4], lockstep_ieee_f32()) {
          H5Pset_external($0, folder + "/secret", 0, 16)
        }
      }, refusal: "keeps its data in other files"),
    Idea(
      name: "external storage of the system",
      make: { file, _ in
        try dataset(file, [8], lockstep_std_u8()) { H5Pset_external($0, "/etc/passwd", 0, 8) }
      }, refusal: "keeps its data in other files"),
    Idea(
      name: "virtual dataset",
      make: { file, folder in
        let space = H5Screate_simple(1, [4], nil)
        try dataset(file, [4], lockstep_ieee_f32()) { list in
          H5Pset_virtual(list, space, folder + "/secret", "/x", space)
        }
      }, refusal: "put together from other files"),
    Idea(
      name: "huge contiguous shape",
      make: { file, _ in try dataset(file, [1 << 58], lockstep_ieee_f32()) },
      refusal: "far too few"),
    Idea(
      name: "huge chunked shape",
      make: { file, _ in
        try dataset(
          file, [1 << 60], lockstep_std_u8(), chunk: [1 << 20],
          rawChunk: [UInt8](repeating: 1, count: 1 << 20))
      }, refusal: "impossible shape"),
    Idea(
      name: "deflate bomb",
      make: { file, _ in
        let count = 96 << 20
        try dataset(file, [UInt64(count)], lockstep_std_u8(), chunk: [4 << 20]) { list in
          H5Pset_deflate(list, 9)
        }
        let dataset = H5Dopen2(file, "/x", none)
        let zeros = [UInt8](repeating: 0, count: count)
        try check(
          H5Dwrite(dataset, lockstep_std_u8(), lockstep_all(), lockstep_all(), none, zeros))
        try check(H5Dclose(dataset))
      }, refusal: "unpacks to more than is read"),
    Idea(
      name: "chunk that unpacks to more than its size",
      make: { file, _ in
        // 4096 zeros, deflated, where 16 bytes are expected.
        let packed: [UInt8] = [
          0x78, 0x9c, 0xed, 0xc1, 0x01, 0x01, 0x00, 0x00, 0x00, 0x80, 0x90, 0xfe, 0xaf, 0xee, 0x08,
          0x0a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x18, 0x00, 0x00, 0x00,
          0x01,
        ]
        try dataset(file, [16], lockstep_std_u8(), chunk: [16], rawChunk: packed) { list in
          H5Pset_deflate(list, 9)
        }
      }, refusal: "cannot read"),
    Idea(
      name: "filter that is not allowed",
      make: { file, _ in
        try dataset(
          file, [16], lockstep_std_i32(), chunk: [16],
          rawChunk: [UInt8](repeating: 1, count: 64)
        ) { H5Pset_scaleoffset($0, H5Z_SO_INT, 0) }
      }, refusal: "went through filter 6"),
    Idea(
      name: "filter nobody knows",
      make: { file, _ in
        try dataset(
          file, [16], lockstep_std_i32(), chunk: [16],
          rawChunk: [UInt8](repeating: 1, count: 64)
        ) { H5Pset_filter($0, 307, 1, 0, nil) }
      }, refusal: "went through filter 307"),
    Idea(
      name: "a hundred thousand chunks",
      make: { file, _ in
        try dataset(
          file, [600_000], lockstep_std_u8(), chunk: [1],
          rawChunk: [UInt8](repeating: 1, count: 1000))
      }, refusal: "more than 131072 chunks"),
    Idea(
      name: "a band of tiles larger than memory",
      make: { file, _ in
        // A byte a chunk, in a file that is large enough for all of them.
        try dataset(
          file, [1 << 14, 1 << 15], lockstep_std_u8(), chunk: [1 << 14, 1 << 10],
          rawChunk: [UInt8](repeating: 1, count: 9 << 20)
        ) { H5Pset_deflate($0, 9) }
      }, refusal: "512 MiB of which would have to be in memory"),
    Idea(
      name: "tiles that were never written, far more than the file",
      make: { file, _ in
        try dataset(
          file, [1 << 14, 1 << 14], lockstep_std_u8(), chunk: [16, 1 << 14],
          rawChunk: [UInt8](repeating: 1, count: 1 << 18))
      }, refusal: "unpacks to more than is read"),
    Idea(
      name: "compact layout",
      make: { file, _ in
        try dataset(file, [4], lockstep_std_u8()) { H5Pset_layout($0, H5D_COMPACT) }
      }, refusal: "in its header"),
    Idea(
      name: "too many dimensions",
      make: { file, _ in
        try dataset(
          file, [UInt64](repeating: 1, count: 20), lockstep_std_u8(),
          chunk: [UInt64](repeating: 1, count: 20), rawChunk: [1])
      }, refusal: "20 dimensions"),
  ]

  static let types: [Idea] = [
    Idea(
      name: "object references",
      make: { file, _ in try dataset(file, [4], lockstep_object_reference()) },
      refusal: "reference elements"),
    Idea(
      name: "nested compound",
      make: { file, _ in
        var type = lockstep_std_i32()
        for _ in 0..<40 {
          let outer = H5Tcreate(H5T_COMPOUND, H5Tget_size(type))
          try check(H5Tinsert(outer, "m", 0, type))
          type = outer
        }
        try dataset(file, [1], type)
      }, refusal: "compound elements"),
    Idea(
      name: "big-endian numbers",
      make: { file, _ in
        let type = H5Tcopy(lockstep_ieee_f32())
        try check(H5Tset_order(type, H5T_ORDER_BE))
        try dataset(file, [4], type)
      }, refusal: "another byte order"),
    Idea(
      name: "text of two gigabytes",
      make: { file, _ in
        let type = H5Tcopy(lockstep_c_s1())
        try check(H5Tset_size(type, 1 << 31))
        try dataset(file, [1], type)
      }, refusal: "more than is read"),
    Idea(
      name: "variable text whose length is a lie",
      make: { file, _ in
        let type = H5Tcopy(lockstep_c_s1())
        try check(H5Tset_size(type, lockstep_variable_size()))
        try dataset(file, [1], type)
        let dataset = H5Dopen2(file, "/x", none)
        let text = strdup("marked text of thirty-one bytes")
        defer { free(text) }
        let pointers = [text]
        try check(H5Dwrite(dataset, type, lockstep_all(), lockstep_all(), none, pointers))
        try check(H5Dclose(dataset))
      },
      patch: { bytes in
        // The element: length, address of the heap, index. The length is 31.
        var bytes = bytes
        let heap = try #require(bytes.firstRange(of: Array("GCOL".utf8))).lowerBound
        let address = withUnsafeBytes(of: UInt64(heap).littleEndian) { Array($0) }
        let element = try #require(bytes.firstRange(of: [31, 0, 0, 0] + address)).lowerBound
        bytes.replaceSubrange(element..<element + 4, with: [0xff, 0xff, 0xff, 0x7f])
        return bytes
      }, refusal: "memory allocation failed"),
  ]

  static let links: [Idea] = [
    Idea(
      name: "soft-link loop",
      make: { file, _ in
        try check(H5Lcreate_soft("/b", file, "/a", none, none))
        try check(H5Lcreate_soft("/a", file, "/b", none, none))
      }, refusal: nil),
    Idea(
      name: "link into another file",
      make: { file, folder in
        var kind = lockstep_link_class()
        kind.version = 1
        kind.id = H5L_type_t(rawValue: 77)
        kind.trav_func = { _, _, _, _, _, _ in -1 }
        try check(H5Lregister(&kind))
        // What an external link holds: version and flags, file, object.
        let value = [0] + Array((folder + "/secret").utf8) + [0] + Array("/x".utf8) + [0]
        try check(
          H5Lcreate_ud(
            file, "/outside", H5L_type_t(rawValue: 77), value, value.count, none, none))
      },
      patch: { bytes in
        // The kind stands a few bytes before the name; 64 is that of external links.
        var bytes = bytes
        let name = try #require(bytes.firstRange(of: Array("outside".utf8))).lowerBound
        let kind = try #require(bytes[name - 12..<name].lastIndex(of: 77))
        bytes[kind] = 64
        return bytes
      }, refusal: nil),
    Idea(
      name: "cyclic hard links",
      make: { file, _ in
        try group(file, "/a/b")
        try check(H5Lcreate_hard(file, "/a", file, "/a/b/again", none, none))
        try check(H5Lcreate_hard(file, "/", file, "/a/root", none, none))
      }, refusal: nil),
    Idea(
      name: "groups forty deep",
      make: { file, _ in try group(file, String(repeating: "/g", count: 40)) },
      refusal: "32 levels"),
    Idea(
      name: "a name of a thousand bytes",
      make: { file, _ in try group(file, "/" + String(repeating: "n", count: 1000)) },
      refusal: "has a name"),
    Idea(
      name: "a name that is not UTF-8",
      make: { file, _ in try group(file, "/marked") },
      patch: { bytes in
        var bytes = bytes
        let name = try #require(bytes.firstRange(of: Array("marked".utf8))).lowerBound
        bytes[name] = 0xff
        return bytes
      }, refusal: "cannot list"),
    Idea(
      name: "names that drive a terminal",
      make: { file, _ in try group(file, "/\u{1b}]0;owned\u{7}\u{1b}[2J\u{9b}31m\u{202e}") },
      refusal: nil),
    Idea(name: "user block", make: { file, _ in try group(file, "/a") }, refusal: nil),
    Idea(
      name: "a signature that stands nowhere a reader looks",
      make: { file, _ in try group(file, "/a") },
      patch: { [UInt8](repeating: 0, count: 513) + $0 }, refusal: "first bytes"),
  ]
}
