import Checkpoints
import Core
import Foundation
import Layers
import Messaging
import Tensors

// Usage: CheckpointProbe FOLDER STEP... saves each step as a run of one rank does, and says why
// not; CheckpointProbe FOLDER newest prints the step of the newest checkpoint that verifies. A test
// traces it and lets its system calls fail.

/// State that tells its step: every element of a vector is the step plus the vector's number.
private func values(_ step: Int, _ vector: StateVector, count: Int) -> [Float] {
  let number = StateVector.allCases.firstIndex(of: vector) ?? 0
  // No byte of it is zero, so that one that was not written shows.
  return [Float](repeating: Float(step * 10 + number) + 1 / 3, count: count)
}

private func save(_ folder: String, step: Int) throws(Failure) {
  var layout = ParameterLayout()
  layout.append("embedding/weight", [7, 5], .constant(0))
  layout.append("decoder/weight", [100, 111], .constant(0))
  let communicator = SoloCommunicator()
  let writer = try CheckpointWriter(
    communicator: communicator, layout: layout,
    publication: .init(
      store: CheckpointStore(folder: folder), retention: RetentionPolicy(newest: 2)))
  let state = FloatBuffer(count: layout.count * 3)
  var pieces: [OwnedPiece] = []
  for (index, vector) in StateVector.allCases.enumerated() {
    let view = state.view[index * layout.count..<(index + 1) * layout.count]
    for (place, value) in values(step, vector, count: layout.count).enumerated() {
      view.base[place] = value
    }
    // Odd pieces, so that there is more than one write a tensor.
    for range in [0..<17, 17..<4001, 4001..<layout.count] {
      pieces.append(OwnedPiece(vector, range, view[range]))
    }
  }
  let header = CheckpointHeader(
    step: step, position: step * 100, incarnation: 1, runIdentifier: "probe",
    configurationYAML: "seed: 1\n", tokenizerModel: [UInt8](repeating: 7, count: 300))
  writer.begin(step: step, header, pieces: pieces)
  try withExtendedLifetime(state) { () throws(Failure) in
    if case .failed(_, let failure)? = try writer.finish() { throw failure }
  }
}

signal(SIGXFSZ, SIG_IGN)
var code = ExitCode.success
for argument in CommandLine.arguments.dropFirst(2) {
  if argument == "newest" {
    do throws(Failure) {
      let newest = try CheckpointStore(folder: CommandLine.arguments[1]).newestVerified { _ in }
      FileHandle.standardOutput.write(Data("\(newest?.header.step ?? -1)\n".utf8))
    } catch {
      FileHandle.standardError.write(Data("newest: \(error.message)\n".utf8))
      code = error.exitCode
    }
    continue
  }
  guard let step = Int(argument) else { exit(ExitCode.usage.rawValue) }
  do throws(Failure) {
    try save(CommandLine.arguments[1], step: step)
  } catch {
    FileHandle.standardError.write(Data("step \(step): \(error.message)\n".utf8))
    code = error.exitCode
  }
}
exit(code.rawValue)
