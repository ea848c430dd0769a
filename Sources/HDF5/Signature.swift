/// The bytes an HDF5 file begins with, or that follow its user block: bytes of somebody else's
/// before it, as MATLAB's files have them. All addresses in the file are counted from there.
///
/// Source: the HDF5 File Format Specification, "Format Signature and Superblock".
enum Signature {
  static let bytes: [UInt8] = [0x89, 0x48, 0x44, 0x46, 0x0d, 0x0a, 0x1a, 0x0a]

  /// Where it may be in a file of that size, in the order in which readers look: 0, 512, 1024,
  /// 2048 and so on.
  static func places(in byteCount: Int) -> [Int] {
    var places: [Int] = []
    var place = 0
    while place <= byteCount - bytes.count {
      places.append(place)
      place = max(512, place.multipliedReportingOverflow(by: 2).partialValue)
      if place > 1 << 61 { break }
    }
    return places
  }
}
