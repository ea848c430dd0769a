import Checkpoints
import Core
import Foundation
import Layers
import Tensors

/// A folder of its own for a test, removed at the end of `body`.
func withTemporaryFolder(_ body: (String) throws -> Void) throws {
  let folder = FileManager.default.temporaryDirectory.appendingPathComponent(
    "checkpoints-tests-\(UUID().uuidString)")
  try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
  defer { try? FileManager.default.removeItem(at: folder) }
  try body(folder.path)
}

/// The failure that `body` throws; nil when it throws nothing.
func failure(_ body: () throws -> Void) -> Failure? {
  do { try body() } catch { return error as? Failure }
  return nil
}

/// State whose every element is known: a function of vector, index and salt.
struct KnownState: StateSource {
  var salt: UInt32 = 1

  func value(_ index: Int, of vector: StateVector) -> Float {
    let kind = UInt32(StateVector.allCases.firstIndex(of: vector) ?? 0)
    let bits = (UInt32(truncatingIfNeeded: index) &+ 1) &* 2_654_435_761 &+ kind &* 97 &+ salt
    return Float(Int32(bitPattern: bits)) / 65536
  }

  func read(
    _ range: Range<Int>, of vector: StateVector, into destination: Vector
  ) throws(Failure) {
    for index in range { destination.base[index - range.lowerBound] = value(index, of: vector) }
  }

  func values(_ range: Range<Int>, of vector: StateVector) -> [Float] {
    range.map { value($0, of: vector) }
  }
}

/// A source whose partner is gone at a chosen pull.
final class BrokenState: StateSource {
  private var pulls = 0
  private let failAt: Int

  init(failAt: Int) { self.failAt = failAt }

  func read(
    _ range: Range<Int>, of vector: StateVector, into destination: Vector
  ) throws(Failure) {
    if pulls == failAt { throw Failure(.internal, "the partner is gone") }
    pulls += 1
    destination.fill(0)
  }
}

/// Odd and tiny tensors.
func tinyLayout() -> ParameterLayout {
  var layout = ParameterLayout()
  layout.append("embedding/weight", [7, 5], .constant(0))
  layout.append("encoder/layer_00/norm/gain", [5], .constant(1))
  layout.append("encoder/layer_00/query/weight", [3, 5], .constant(0))
  layout.append("decoder/scale", [1], .constant(0))
  return layout
}

func tinyHeader(
  step: Int, incarnation: Int = 1, run: String = "run-a", validationLoss: Double? = nil
) -> CheckpointHeader {
  CheckpointHeader(
    step: step, position: 12345, tokensSeen: 678_901, seed: .max, lanes: 8,
    incarnation: incarnation, runIdentifier: run, validationLoss: validationLoss,
    configurationYAML: "seed: 1\n# größer\n",
    tokenizerModel: [UInt8](0...255), datasetDigest: "abc",
    provenance: ["host": "node-1", "kernel_set": "SkylakeX", "command": "lockstep train x"])
}

extension Checkpoint {
  func values(_ range: Range<Int>? = nil, of vector: StateVector) throws(Failure) -> [Float] {
    let range = range ?? 0..<layout.count
    let buffer = FloatBuffer(count: range.count)
    try read(range, of: vector, into: buffer.view)
    return buffer.view.array
  }
}

func bits(_ values: [Float]) -> [UInt32] { values.map(\.bitPattern) }
