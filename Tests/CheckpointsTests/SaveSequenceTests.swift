import Checkpoints
import Testing

@Suite struct SaveSequenceTests {
  /// Every meaning flags of all ranks can have.
  private static let united: [SaveFlags] = [
    [], [.underway], [.underway, .busy], [.underway, .failed], [.underway, .busy, .failed],
    [.busy, .failed],
  ]

  @Test func everyHistoryEndsPublishedOrFailedAndNeverPublishesAFailure() {
    var ends: [SaveSequence.Action: Int] = [:]
    func follow(_ sequence: SaveSequence, hasFailed: Bool, depth: Int) {
      for flags in Self.united {
        var next = sequence
        let action = next.advance(flags)
        let isMeant = flags.contains(.underway)
        // A failure that nobody acts on yet must be acted on once all are done.
        let fails = hasFailed || (isMeant && flags.contains(.failed))
        switch action {
        case .wait:
          #expect(next == sequence)
          #expect(!isMeant || flags == [.underway, .busy])
        case .cancel:
          #expect(next == sequence)
          #expect(flags == [.underway, .busy, .failed])
        case .endPublished:
          #expect(!flags.contains(.failed))
          #expect(sequence.phase == .publishing)
          #expect(next.phase == .idle)
          ends[action, default: 0] += 1
          continue
        case .endFailed:
          #expect(fails)
          #expect(next.phase == .idle)
          ends[action, default: 0] += 1
          continue
        case .shareFailureAmongRanks:
          #expect(flags == [.underway, .failed])
        case .shareDraftAmongRanks, .gatherPartsOfRanks:
          #expect(flags == [.underway])
        }
        if depth > 0 { follow(next, hasFailed: fails, depth: depth - 1) }
      }
    }
    var begun = SaveSequence()
    #expect(begun.advance([.underway, .failed]) == .wait)
    begun.begin()
    follow(begun, hasFailed: false, depth: 6)
    #expect(ends[.endPublished] ?? 0 > 0)
    #expect(ends[.endFailed] ?? 0 > 0)
  }

  @Test func aSaveWithoutTroubleTakesThreeAgreements() {
    var sequence = SaveSequence()
    sequence.begin()
    let actions = (0..<3).map { _ in sequence.advance([.underway]) }
    #expect(actions == [.shareDraftAmongRanks, .gatherPartsOfRanks, .endPublished])
    #expect(sequence == SaveSequence())
  }
}
