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
  /// Names and kinds of the links in a group, sorted by their bytes.
  func links(of group: String) throws(Failure) -> NameCollector {
    let collector = NameCollector()
    let file = handle.id
    try Library.check(
      "list the group", place(group), .badData,
      lockstep_iterate_links(
        file, group,
        { _, name, information, context in
          NameCollector.add(
            name, linkType: information?.pointee.type ?? H5L_TYPE_ERROR, to: context)
        }, collector.context))
    return collector
  }

  func information(_ object: String) throws(Failure) -> lockstep_object_info {
    var information = lockstep_object_info()
    let file = handle.id
    try Library.check(
      "look at the object", place(object), .badData,
      H5Oget_info_by_name2(file, object, &information, H5O_INFO_BASIC, lockstep_default()))
    return information
  }
}
