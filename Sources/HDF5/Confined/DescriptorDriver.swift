import CHDF5
import Core
import Foundation
import Synchronization

/// A libhdf5 driver that reads a file through a descriptor which is open already, and does nothing
/// else: no name is ever opened, nothing is written.
///
/// With it a process can give up the right to open files before libhdf5 sees the first byte. What
/// lies before the file's signature is not shown to libhdf5: versions of it differ in whether the
/// addresses they tell are counted from there.
enum DescriptorDriver {
  private typealias DescriptorFile = lockstep_descriptor_file

  /// Where stored elements are, as libhdf5 wants to read them.
  struct Place: Equatable {
    let address: haddr_t
    let byteCount: Int
  }

  /// What would be read, where somebody only wants to know.
  private static let wanted = Mutex<[Place]?>(nil)

  /// Registers the driver; the file's "name" is the number of its descriptor.
  static func register(_ place: Library.Place) throws(Failure) -> hid_t {
    var table = H5FD_class_t()
    lockstep_number_driver(&table)
    // libhdf5 keeps a copy of the table but not of this text.
    let name = strdup("lockstep_descriptor")
    table.name = UnsafePointer(name)
    table.maxaddr = haddr_t(Int64.max)
    table.fc_degree = H5F_CLOSE_STRONG
    table.open = { name, _, _, _ in DescriptorDriver.open(name) }
    table.close = { file in
      file?.withMemoryRebound(to: DescriptorFile.self, capacity: 1) { $0.deallocate() }
      return 0
    }
    table.get_eoa = { file, _ in DescriptorDriver.file(file)?.pointee.end_of_allocation ?? 0 }
    table.set_eoa = { file, _, address in
      guard let file = DescriptorDriver.file(UnsafePointer(file)) else { return -1 }
      file.pointee.end_of_allocation = address
      return 0
    }
    table.get_eof = { file, _ in DescriptorDriver.file(file)?.pointee.byte_count ?? 0 }
    table.read = { file, kind, _, address, size, buffer in
      guard let file = DescriptorDriver.file(UnsafePointer(file)), let buffer else { return -1 }
      if kind == H5FD_MEM_DRAW, DescriptorDriver.note(Place(address: address, byteCount: size)) {
        return 0
      }
      return DescriptorDriver.read(file.pointee, address, size, buffer)
    }
    table.write = { _, _, _, _, _, _ in -1 }
    return try Library.check(
      "register the reader of descriptors", place, .internal, H5FDregister(&table))
  }

  /// Runs `body`, a call that reads elements, without reading any.
  ///
  /// Returns: where they are.
  static func places<E: Error>(of body: () throws(E) -> Void) throws(E) -> [Place] {
    wanted.withLock { $0 = [] }
    defer { wanted.withLock { $0 = nil } }
    try body()
    return wanted.withLock { $0 ?? [] }
  }

  private static func note(_ place: Place) -> Bool {
    wanted.withLock { places in
      places?.append(place)
      return places != nil
    }
  }

  /// By seeking, which a confined process may do: fstat looks files up by name on some systems.
  /// Nobody uses the position.
  static func byteCount(of descriptor: Int32) -> Int? {
    let end = lseek(descriptor, 0, SEEK_END)
    return end < 0 ? nil : Int(end)
  }

  private static func file(
    _ base: UnsafePointer<H5FD_t>?
  ) -> UnsafeMutablePointer<DescriptorFile>? {
    base.map { UnsafeMutableRawPointer(mutating: $0).assumingMemoryBound(to: DescriptorFile.self) }
  }

  private static func open(_ name: UnsafePointer<CChar>?) -> UnsafeMutablePointer<H5FD_t>? {
    guard let name, let descriptor = Int32(String(cString: name)) else { return nil }
    guard let byteCount = byteCount(of: descriptor) else { return nil }
    let base = base(of: descriptor, byteCount)
    let file = UnsafeMutablePointer<DescriptorFile>.allocate(capacity: 1)
    var fresh = DescriptorFile()
    fresh.descriptor = descriptor
    fresh.first_byte = haddr_t(base)
    fresh.byte_count = haddr_t(byteCount - base)
    file.initialize(to: fresh)
    return UnsafeMutableRawPointer(file).assumingMemoryBound(to: H5FD_t.self)
  }

  /// Where the signature is; 0 where there is none, which libhdf5 will say.
  private static func base(of descriptor: Int32, _ byteCount: Int) -> Int {
    Signature.places(in: byteCount).first { place in
      var found = [UInt8](repeating: 0, count: Signature.bytes.count)
      return pread(descriptor, &found, found.count, off_t(place)) == found.count
        && found == Signature.bytes
    } ?? 0
  }

  private static func read(
    _ file: DescriptorFile, _ address: haddr_t, _ size: Int, _ buffer: UnsafeMutableRawPointer
  ) -> herr_t {
    let (first, overflow) = address.addingReportingOverflow(file.first_byte)
    guard !overflow, let start = Int(exactly: first) else { return -1 }
    var done = 0
    while done < size {
      let (offset, overflow) = start.addingReportingOverflow(done)
      guard !overflow else { return -1 }
      let count = pread(file.descriptor, buffer + done, size - done, off_t(offset))
      if count < 0 {
        if errno == EINTR { continue }
        return -1
      }
      if count == 0 {
        // As libhdf5's own drivers do: what lies behind the end reads as zeros.
        memset(buffer + done, 0, size - done)
        return 0
      }
      done += count
    }
    return 0
  }
}
