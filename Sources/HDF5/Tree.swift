import CHDF5
import Core

/// One object of a file, as a walk over its tree finds it.
package struct Node: Sendable {
  package enum Kind: String, Sendable, Codable {
    case group, dataset, namedType
    /// A soft or external link, or a second name of an object already seen; not followed.
    case link
  }

  /// Absolute path in the file.
  package let path: String
  package let kind: Kind
  /// Empty unless a dataset; also empty for a scalar one.
  package let shape: [Int]
  /// nil unless a dataset.
  package let type: ElementType?
  /// Why a dataset cannot be read, when it cannot.
  package let defect: String?
}

extension File {
  // A file with more, or deeper, is not one of ours and may be made to exhaust its reader.
  private static let objectLimit = 100_000
  private static let depthLimit = 64

  /// Names in a group, sorted by their bytes.
  package func children(of group: String = "/") throws(Failure) -> [String] {
    try links(of: group).names
  }

  /// Whether an object of that path exists.
  package func contains(_ object: String) throws(Failure) -> Bool {
    var path = ""
    for name in object.split(separator: "/") {
      path += "/" + name
      let file = handle.id
      let exists = try Library.check(
        "look for the object", place(object), .badData,
        H5Lexists(file, path, lockstep_default()))
      guard exists > 0 else { return false }
    }
    return true
  }

  /// All objects below the root in depth-first order, names sorted; cycles and links are not followed.
  package func tree() throws(Failure) -> [Node] {
    var nodes: [Node] = []
    var seen: Set<haddr_t> = [try information("/").addr]
    try walk("", depth: 0, &nodes, &seen)
    return nodes
  }

  private func walk(
    _ group: String, depth: Int, _ nodes: inout [Node], _ seen: inout Set<haddr_t>
  ) throws(Failure) {
    let links = try links(of: group.isEmpty ? "/" : group)
    for (name, linkType) in zip(links.names, links.linkTypes) {
      let path = group + "/" + name
      guard nodes.count < File.objectLimit, depth < File.depthLimit else {
        throw Failure(
          .badData,
          "\(place(path).description): more than \(File.objectLimit) objects or "
            + "\(File.depthLimit) levels, which no file of Lockstep has")
      }
      guard linkType == H5L_TYPE_HARD else {
        nodes.append(Node(path: path, kind: .link, shape: [], type: nil, defect: nil))
        continue
      }
      let information = try information(path)
      guard seen.insert(information.addr).inserted else {
        nodes.append(Node(path: path, kind: .link, shape: [], type: nil, defect: nil))
        continue
      }
      switch information.type {
      case H5O_TYPE_GROUP:
        nodes.append(Node(path: path, kind: .group, shape: [], type: nil, defect: nil))
        try walk(path, depth: depth + 1, &nodes, &seen)
      case H5O_TYPE_DATASET: nodes.append(node(ofDataset: path))
      default:
        nodes.append(Node(path: path, kind: .namedType, shape: [], type: nil, defect: nil))
      }
    }
  }

  private func node(ofDataset path: String) -> Node {
    do throws(Failure) {
      let dataset = try dataset(path)
      return Node(
        path: path, kind: .dataset, shape: dataset.shape, type: dataset.type, defect: nil)
    } catch {
      return Node(path: path, kind: .dataset, shape: [], type: nil, defect: error.message)
    }
  }

  private func links(of group: String) throws(Failure) -> NameCollector {
    let collector = NameCollector()
    let file = handle.id
    try Library.check(
      "list the group", place(group), .badData,
      H5Literate_by_name(
        file, group, H5_INDEX_NAME, H5_ITER_INC, nil,
        { _, name, information, context in
          NameCollector.add(
            name, linkType: information?.pointee.type ?? H5L_TYPE_ERROR, to: context)
        }, collector.context, lockstep_default()))
    return collector
  }

  private func information(_ object: String) throws(Failure) -> H5O_info_t {
    var information = H5O_info_t()
    let file = handle.id
    try Library.check(
      "look at the object", place(object), .badData,
      H5Oget_info_by_name2(file, object, &information, H5O_INFO_BASIC, lockstep_default()))
    return information
  }
}
