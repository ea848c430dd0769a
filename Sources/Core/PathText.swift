import Foundation

/// Paths stay as they were given: what is made of them is made of their bytes, never by asking
/// where this process stands. A folder may have a name that text cannot hold, or lie below one that
/// may not be searched.
extension FileSystem {
  private static let slash = UInt8(ascii: "/")

  /// The folder a path lies in, made of its text alone.
  package static func parent(of path: String) -> String {
    // Bytes: to Swift a slash and an accent after it are one character.
    let bytes = withoutTrailingSlashes(path).utf8
    guard let end = bytes.lastIndex(of: slash) else { return "." }
    let parent = bytes[..<end]
    return parent.isEmpty ? "/" : String(Substring(parent))
  }

  /// The last name of a path, made of its text alone; `/` of the root.
  package static func name(of path: String) -> String {
    let text = withoutTrailingSlashes(path)
    guard text != "/", let end = text.utf8.lastIndex(of: slash) else { return text }
    return String(Substring(text.utf8[text.utf8.index(after: end)...]))
  }

  /// What is built beside `a/` would be built inside `a`.
  package static func withoutTrailingSlashes(_ path: String) -> String {
    var bytes = Substring(path).utf8
    while bytes.count > 1, bytes.last == slash { bytes.removeLast() }
    return String(Substring(bytes))
  }

  /// The path from the root on, for programs that take no other; as it was given where that leads
  /// nowhere.
  package static func absolute(_ path: String) -> String {
    guard path.utf8.first != slash, let current = getcwd(nil, 0) else { return path }
    defer { free(current) }
    guard let folder = String(validatingCString: current) else { return path }
    let absolute = folder + "/" + path
    return exists(absolute) ? absolute : path
  }

  /// The first link on the way along a path that leads to nothing, in words; nil where there is
  /// none.
  package static func deadLink(on path: String) -> String? {
    var places = [withoutTrailingSlashes(path)]
    while let last = places.last, case let outer = parent(of: last), outer != last, outer != "." {
      places.append(outer)
    }
    for place in places.reversed() where kind(of: place) == .link {
      var status = stat()
      guard stat(place, &status) != 0, errno == ENOENT || errno == ELOOP else { continue }
      let target = try? FileManager.default.destinationOfSymbolicLink(atPath: place)
      return "\(place) is a link to \(target ?? "something") that leads nowhere"
    }
    return nil
  }

  /// The folder that the file system of a path is mounted on.
  package static func mountPoint(of path: String) -> String {
    var place = absolute(path)
    while place != "/", place != ".", !isMountPoint(place) { place = parent(of: place) }
    return place
  }

  /// Whether something is mounted on a folder, so that nothing can be moved into its place.
  package static func isMountPoint(_ folder: String) -> Bool {
    guard let own = mount(of: folder), let outer = mount(of: folder + "/..") else { return false }
    return own != outer
  }

  /// Which mount of this process's a folder is in; nil where that cannot be told.
  private static func mount(of folder: String) -> String? {
    let opened = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard opened >= 0 else { return nil }
    defer { close(opened) }
    let text = try? String(contentsOfFile: "/proc/self/fdinfo/\(opened)", encoding: .utf8)
    return text?.filledLines.first { $0.hasPrefix("mnt_id:") }.map(String.init)
  }
}
