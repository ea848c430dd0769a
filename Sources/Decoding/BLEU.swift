import Core
import Foundation

/// Corpus BLEU of translations against one reference each, equal to sacreBLEU's default.
///
///     score = BP * exp(mean over n of log p_n),  n = 1...4
///     BP    = 1 if c >= r, else exp(1 - r / c)
///
/// A precision without matches counts as 100 / (2^i * total), the i-th such (smoothing "exp").
/// Source: Papineni et al., 2002; sacreBLEU 2.6 for the smoothing and what happens at zeros.
/// Units: score and precisions in per cent.
package struct BLEU: Equatable, Sendable {
  package static let maximumOrder = 4

  /// What has to be named for two scores to be comparable, as sacreBLEU prints it.
  package static let signature =
    "nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:lockstep-\(lockstepVersion)"

  package let score: Double
  /// Matching and all n-grams of the translations, n = 1...4.
  package let matchCounts: [Int]
  package let totalCounts: [Int]
  /// After smoothing, n = 1...4.
  package let precisions: [Double]
  package let brevityPenalty: Double
  /// Words of the translations.
  package let systemLength: Int
  /// Words of the references.
  package let referenceLength: Int

  package init(translations: [String], references: [String]) {
    precondition(translations.count == references.count, "one reference for one translation")
    var statistics = BLEUStatistics()
    for (translation, reference) in zip(translations, references) {
      statistics.add(translation: translation, reference: reference)
    }
    self.init(statistics)
  }

  package init(_ statistics: BLEUStatistics) {
    matchCounts = statistics.matchCounts
    totalCounts = statistics.totalCounts
    systemLength = statistics.systemLength
    referenceLength = statistics.referenceLength
    brevityPenalty = Self.brevityPenalty(system: systemLength, reference: referenceLength)
    guard matchCounts.contains(where: { $0 > 0 }) else {
      precisions = Array(repeating: 0, count: Self.maximumOrder)
      score = 0
      return
    }
    precisions = Self.smoothedPrecisions(matches: matchCounts, totals: totalCounts)
    // sacreBLEU's floor for log 0: a corpus without any 4-gram scores 0.
    let logarithms = precisions.map { $0 == 0 ? -9_999_999_999 : log($0) }
    score = brevityPenalty * exp(logarithms.reduce(0, +) / Double(Self.maximumOrder))
  }

  /// sacreBLEU's line: score, precisions, brevity penalty and lengths.
  package var verboseScore: String {
    let precisionText = precisions.map { String(format: "%.1f", $0) }.joined(separator: "/")
    let ratio = referenceLength > 0 ? Double(systemLength) / Double(referenceLength) : 0
    return String(format: "BLEU = %.2f ", score) + precisionText
      + String(format: " (BP = %.3f ratio = %.3f", brevityPenalty, ratio)
      + " hyp_len = \(systemLength) ref_len = \(referenceLength))"
  }

  private static func brevityPenalty(system: Int, reference: Int) -> Double {
    guard system < reference else { return 1 }
    return system > 0 ? exp(1 - Double(reference) / Double(system)) : 0
  }

  private static func smoothedPrecisions(matches: [Int], totals: [Int]) -> [Double] {
    var precisions = Array(repeating: 0.0, count: maximumOrder)
    var smoothing = 1.0
    for order in 0..<maximumOrder where totals[order] > 0 {
      if matches[order] == 0 {
        smoothing *= 2
        precisions[order] = 100 / (smoothing * Double(totals[order]))
      } else {
        precisions[order] = 100 * Double(matches[order]) / Double(totals[order])
      }
    }
    return precisions
  }
}

/// The sums over a corpus that BLEU is computed from.
package struct BLEUStatistics: Equatable, Sendable {
  package private(set) var matchCounts = Array(repeating: 0, count: BLEU.maximumOrder)
  package private(set) var totalCounts = Array(repeating: 0, count: BLEU.maximumOrder)
  package private(set) var systemLength = 0
  package private(set) var referenceLength = 0

  package init() {}

  package mutating func add(translation: String, reference: String) {
    // Numbers instead of words: keyed by bytes, because `String` calls canonically equal spellings
    // equal and the reference implementation does not.
    var vocabulary: [[UInt8]: Int32] = [:]
    let numbers = [translation, reference].map { line in
      MtevalTokenizer.words(line).map { word in
        let key = Array(word.utf8)
        if let number = vocabulary[key] { return number }
        let number = Int32(vocabulary.count)
        vocabulary[key] = number
        return number
      }
    }
    systemLength += numbers[0].count
    referenceLength += numbers[1].count
    for order in 1...BLEU.maximumOrder {
      let referenceCounts = Self.ngramCounts(numbers[1], order: order)
      for (ngram, count) in Self.ngramCounts(numbers[0], order: order) {
        totalCounts[order - 1] += count
        matchCounts[order - 1] += min(count, referenceCounts[ngram] ?? 0)
      }
    }
  }

  private static func ngramCounts(_ words: [Int32], order: Int) -> [SIMD4<Int32>: Int] {
    var counts: [SIMD4<Int32>: Int] = [:]
    guard words.count >= order else { return counts }
    for start in 0...(words.count - order) {
      var ngram = SIMD4<Int32>(repeating: -1)
      for place in 0..<order { ngram[place] = words[start + place] }
      counts[ngram, default: 0] += 1
    }
    return counts
  }
}
