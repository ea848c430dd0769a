import Core
import Testing

@Suite struct DigestTests {
  @Test func aDigestIsThirtyTwoDigitsAndNothingElse() {
    let digest = Digest(of: "lockstep")
    #expect(Digest(hexadecimal: digest.description) == digest)
    #expect(Digest(hexadecimal: String(repeating: "0", count: 32)) == Digest(high: 0, low: 0))
    let rest = String(repeating: "1", count: 31)
    for text in ["+" + rest, "-" + rest, rest, rest + "g", rest + "\u{ff11}", "11" + rest] {
      #expect(Digest(hexadecimal: text) == nil, "\(text)")
    }
    #expect(Digest(hexadecimal: rest.prefix(16) + "+" + rest.prefix(15)) == nil)
  }
}
