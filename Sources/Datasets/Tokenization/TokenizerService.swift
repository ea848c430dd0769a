import CSentencePiece
import Core
import Foundation
import HDF5

/// The program as its own servant: a process that learns a vocabulary and ends.
///
/// libsentencepiece ends its process on text it was not written for; here that is an answer.
///
/// The request comes on standard input: the number of texts, where each ends, both in 64 bits, and
/// the texts. The answer goes to standard output: a byte, 0 before a model, 1 before the reason why
/// there is none.
package enum TokenizerService {
  static let command = "learn-tokenizer"
  static let isModel: UInt8 = 0
  static let isReason: UInt8 = 1

  /// Call first in `main`: in a process started for that, it learns and never returns.
  package static func serveIfAsked() {
    guard let options = ServantProcess.argument(for: command) else { return }
    guard ServantProcess.endWithParent(),
      let request = try? InputFile.rest(of: STDIN_FILENO, path: "request")
    else { _exit(ExitCode.internal.rawValue) }
    ServantProcess.finish(saying: answer(request, options: options))
  }

  private static func answer(_ request: [UInt8], options: String) -> [UInt8] {
    var model: UnsafeMutablePointer<UInt8>?
    var modelByteCount = 0
    let reason = request.withUnsafeBytes { raw -> UnsafeMutablePointer<CChar>? in
      let numbers = raw.prefix(raw.count & ~7).bindMemory(to: UInt64.self)
      guard let count = numbers.first.flatMap({ Int(exactly: $0) }), 1..<numbers.count ~= count,
        numbers[count] == raw.count - 8 * (count + 1)
      else { return strdup("the request was cut off") }
      let text = raw[(8 * (count + 1))...].bindMemory(to: CChar.self)
      return sentencepiece_train(
        options, text.baseAddress, UnsafeBufferPointer(rebasing: numbers[1...]).baseAddress, count,
        &model, &modelByteCount)
    }
    if let reason = SentencePiece.text(consuming: reason) { return [isReason] + reason.utf8 }
    defer { sentencepiece_free(model) }
    return [isModel] + UnsafeBufferPointer(start: model, count: modelByteCount)
  }
}
