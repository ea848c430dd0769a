import Core
import Foundation
import Layers
import Messaging
import Synchronization

/// What a save has published.
package struct SavedCheckpoint: Sendable {
  /// The checkpoint's folder.
  package let path: String
  package let byteCount: Int
  /// From the snapshot to the publication.
  package let seconds: Double
  /// Where what had its name and did not verify is now, if there was such a thing.
  package var movedAside: String?
  /// Why an older checkpoint could not be removed, if so; the new one is safe.
  package var retentionProblem: Failure?
}

/// How a save has ended; the same case on every rank.
package enum SaveEvent: Sendable {
  /// The checkpoint is there; what rank 0 knows of it.
  case published(step: Int, SavedCheckpoint?)
  /// Older checkpoints are untouched, training can go on. Nothing of it is left, unless only the
  /// last sync failed.
  case failed(step: Int, Failure)
}

/// Writes checkpoints beside the training, each rank its own part of the one file.
///
/// Every rank has one. The step loop unites `flags` over all ranks once a step and hands them to
/// `poll`; everything that touches the disk happens on a thread of its own, and everything that
/// talks to other ranks in `poll` and `finish`. A save that is asked for while one is under way
/// waits for it; requests coalesce.
package final class CheckpointWriter {
  /// What rank 0 needs to publish.
  package struct Publication: Sendable {
    package let store: CheckpointStore
    package let retention: RetentionPolicy

    package init(store: CheckpointStore, retention: RetentionPolicy) {
      self.store = store
      self.retention = retention
    }
  }

  /// What the threads leave behind.
  private enum Product: Sendable {
    case prepared(Draft, [Manifest.Block])
    case written([Manifest.Block])
    case published(SavedCheckpoint)
    case nothing
  }

  /// The save that is under way on this rank.
  private struct Attempt {
    let header: CheckpointHeader?
    let step: Int
    let hasMoments: Bool
    let pieces: [OwnedPiece]
    let stopwatch = Stopwatch()
    let isCancelled = Cancellation()
    var draft: Draft?
    /// On rank 0: digests of what is not a tensor, later of everything.
    var blocks: [Manifest.Block] = []
    var failure: Failure?
  }

  private let communicator: any Communicator
  private let layout: ParameterLayout
  private let publication: Publication?
  private let snapshot = Snapshot()
  /// For what is short: preparing and publishing.
  private let thread: WorkThread
  /// For the tensors. Where ranks take every core, a save of the base model lasts four times as
  /// long as at the other's priority, and a step beside it 0 to 6 % longer instead of 13 %.
  private let bulkThread: WorkThread
  private var sequence = SaveSequence()
  private var attempt: Attempt?
  private var work: Background<Product>?

  /// True from a `request` until the snapshot for it is taken.
  package private(set) var isRequested = false

  /// - Parameter publication: on rank 0 and only there.
  /// Throws: `Failure(.internal)` of this rank alone when no thread can be started.
  package init(
    communicator: any Communicator, layout: ParameterLayout, publication: Publication?
  ) throws(Failure) {
    precondition((communicator.rank == 0) == (publication != nil), "rank 0 alone publishes")
    thread = try WorkThread(niceness: 5)
    bulkThread = try WorkThread(niceness: 15)
    self.communicator = communicator
    self.layout = layout
    self.publication = publication
  }

  package var isIdle: Bool { sequence.phase == .idle }

  /// Asks for a save at the next step boundary at which none is under way.
  ///
  /// Collective in effect: all ranks ask at the same step.
  package func request() { isRequested = true }

  /// Drops a request for which no snapshot has been taken; the save under way goes on.
  ///
  /// Collective in effect, as `request`.
  package func withdraw() { isRequested = false }

  /// Whether the caller should `begin` now.
  package var takesSnapshot: Bool { isRequested && isIdle }

  /// To be united (OR) with those of all ranks, once a step.
  package var flags: UInt64 {
    guard !isIdle else { return 0 }
    var flags = SaveFlags.underway
    switch work?.resultSoFar {
    case nil where work != nil: flags.insert(.busy)
    case .failure: flags.insert(.failed)
    default: break
    }
    return flags.rawValue
  }

  /// Takes the snapshot of a step boundary and starts to write it.
  ///
  /// Collective in effect: all ranks begin at the same step, with pieces that together are every
  /// element of every vector once.
  /// - Parameter header: needed on rank 0, ignored elsewhere.
  /// Precondition: `isIdle`.
  package func begin(
    step: Int, _ header: CheckpointHeader?, pieces: [OwnedPiece], hasMoments: Bool = true
  ) {
    sequence.begin()
    isRequested = false
    attempt = Attempt(
      header: header, step: step, hasMoments: hasMoments, pieces: snapshot.copy(pieces))
    guard let publication else { return }
    guard let header else { preconditionFailure("rank 0 has the header") }
    precondition(header.step == step, "the header is of another step")
    let layout = layout
    work = Background(on: thread) { () throws(Failure) in
      let begun = try publication.store.begin(header, layout: layout, hasMoments: hasMoments)
      return .prepared(begun.draft, begun.blocks)
    }
  }

  /// Carries a save on as far as the ranks have come.
  ///
  /// Collective: every rank polls with the same flags. Cost: nothing while ranks are writing; three
  /// times a save one exchange of a few bytes a tensor.
  /// - Parameter united: the `flags` of all ranks, united after the last `poll`.
  /// Throws: what the communicator throws; a disk that fails is an event instead.
  package func poll(_ united: UInt64) throws(Failure) -> SaveEvent? {
    switch sequence.advance(SaveFlags(rawValue: united)) {
    case .wait: return nil
    case .cancel: attempt?.isCancelled.set()
    case .shareDraftAmongRanks: try startWriting()
    case .gatherPartsOfRanks: try startPublishing()
    case .shareFailureAmongRanks: try startAbandoning()
    case .endPublished: return end { .published(step: $0.step, published()) }
    case .endFailed:
      return end { .failed(step: $0.step, $0.failure ?? Failure(.internal, "a save failed")) }
    }
    return nil
  }

  /// Waits for the save that is under way; nil when there is none.
  ///
  /// Collective. A request that is still waiting is left waiting: `begin` it, then finish again.
  package func finish() throws(Failure) -> SaveEvent? {
    while !isIdle {
      work?.wait()
      if let event = try poll(try communicator.agree(flags)) { return event }
    }
    return nil
  }

  private func end(_ event: (Attempt) -> SaveEvent) -> SaveEvent? {
    defer { (attempt, work) = (nil, nil) }
    return attempt.map(event)
  }

  private func published() -> SavedCheckpoint? {
    guard case .success(.published(let saved))? = work?.resultSoFar else { return nil }
    return saved
  }

  private func startWriting() throws(Failure) {
    var message: [UInt8] = []
    if case .success(.prepared(let draft, let blocks))? = work?.resultSoFar {
      attempt?.blocks = blocks
      message = draft.encoded
    }
    let draft = try Draft(
      decoding: try communicator.broadcast(message, from: 0), layout: layout)
    attempt?.draft = draft
    guard let attempt else { return }
    // The snapshot must outlive the thread, whatever becomes of the writer.
    let (pieces, isCancelled, snapshot) = (attempt.pieces, attempt.isCancelled, snapshot)
    FaultPoint.write.reached(step: attempt.step)
    work = Background(on: bulkThread) { () throws(Failure) in
      try withExtendedLifetime(snapshot) { () throws(Failure) in
        .written(try draft.write(pieces) { isCancelled.isSet })
      }
    }
  }

  private func startPublishing() throws(Failure) {
    var own: [Manifest.Block] = []
    if case .success(.written(let blocks))? = work?.resultSoFar { own = blocks }
    work = nil
    let parts = try communicator.allGather(bytes: own.encoded)
    guard let publication, let attempt, let header = attempt.header, let draft = attempt.draft
    else { return }
    let stopwatch = attempt.stopwatch
    let skeleton = attempt.blocks
    work = Background(on: thread) { () throws(Failure) in
      let tensors = draft.spans.values.joined().sorted { $0.offset < $1.offset }
      FaultPoint.publish.reached(step: header.step)
      let blocks = skeleton + parts.flatMap { [Manifest.Block](decoding: $0, tensors: tensors) }
      var saved = try publication.store.publish(draft, header, blocks, since: stopwatch)
      do throws(Failure) {
        try publication.store.retain(publication.retention)
      } catch {
        saved.retentionProblem = error
      }
      return .published(saved)
    }
  }

  private func startAbandoning() throws(Failure) {
    var own: Failure?
    if case .failure(let failure)? = work?.resultSoFar { own = failure }
    work = nil
    let messages = try communicator.allGather(
      bytes: FailureMessage.encode(own, rank: communicator.rank))
    attempt?.failure = FailureMessage.first(in: messages)
    guard let publication, let header = attempt?.header else { return }
    work = Background(on: thread) { () throws(Failure) in
      publication.store.discard(header)
      return .nothing
    }
  }
}

/// A wish that another thread looks at now and then.
private final class Cancellation: Sendable {
  private let state = Atomic(false)

  var isSet: Bool { state.load(ordering: .relaxed) }

  func set() { state.store(true, ordering: .relaxed) }
}
