import Core

/// A machine of the job and how many ranks it takes.
package struct JobHost: Equatable, Hashable, Sendable {
  package let name: String
  package let slots: Int
  /// Who logs in there; nil for the user of this process.
  package let login: String?

  /// The machine the supervisor runs on.
  package static let localName = "localhost"

  package init(name: String, slots: Int, login: String? = nil) {
    precondition(slots > 0, "a host takes a rank at least")
    self.name = name
    self.slots = slots
    self.login = login
  }

  /// As ssh and OpenMPI's hostfiles have it.
  package var address: String { login.map { "\($0)@\(name)" } ?? name }

  package var isLocal: Bool { Self.isLocal(name) }

  package static func isLocal(_ name: String) -> Bool {
    name.lowercased() == localName || HostName.isOwn(name)
  }
}
