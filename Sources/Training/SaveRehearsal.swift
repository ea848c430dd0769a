import Checkpoints
import Core
import Messaging

extension Communicator {
  /// Does what saves will do, with a file of a few bytes, so that what would fail the first of them
  /// ends the run before its first step.
  ///
  /// Collective. Throws: the same `Failure` on every rank (.cannotCreate, .inputOutput, .badData).
  /// - Parameter directory: on rank 0 and only there.
  func rehearseSave(
    into store: CheckpointStore, _ directory: RunDirectory?
  ) throws(Failure) {
    let begun = try together { () throws(Failure) -> Rehearsal? in
      guard let directory else { return nil }
      return try store.beginRehearsal(incarnation: directory.incarnation)
    }
    do throws(Failure) {
      let rehearsal = Rehearsal(
        folder: try broadcast(begun?.folder ?? ""), content: try broadcast(begun?.content ?? ""))
      try together { () throws(Failure) in try rehearsal.takePart() }
      try together { () throws(Failure) in
        if let directory { try store.end(rehearsal, incarnation: directory.incarnation) }
      }
    } catch {
      if let begun { store.abandon(begun) }
      throw error
    }
  }
}
