import Checkpoints
import Core
import Foundation
import HDF5
import Layers
import Tensors
import Testing

/// Known values, but for one element of one vector.
private struct ChangedState: StateSource {
  let vector: StateVector
  let index: Int
  let value: Float

  func read(
    _ range: Range<Int>, of vector: StateVector, into destination: Vector
  ) throws(Failure) {
    try KnownState().read(range, of: vector, into: destination)
    if vector == self.vector, range.contains(index) {
      destination.base[index - range.lowerBound] = value
    }
  }
}

@Suite struct ComparisonTests {
  @Test func equalNumbersAreIdenticalWhoeverWroteThem() throws {
    try withTemporaryFolder { folder in
      let paths = try [("a", 1), ("b", 2)].map { run, incarnation in
        var header = tinyHeader(step: 4, incarnation: incarnation, run: run)
        header.provenance["host"] = run
        return try CheckpointStore(folder: folder + "/" + run).save(
          header, layout: tinyLayout(), from: KnownState()
        ).path
      }
      let comparison = try Comparison(of: paths[0], and: paths[1])
      #expect(comparison.isIdentical)
      // Three vectors of four tensors, and the tokenizer.
      #expect(comparison.tensors.count == 13)
      #expect(comparison.tensors.allSatisfy { $0.difference.largestAbsolute == 0 })
      #expect(comparison.tensors.allSatisfy { abs(($0.cosine ?? 0) - 1) < 1e-12 })
    }
  }

  @Test func otherConfigurationsTextsAndAttributesAreDifferences() throws {
    try withTemporaryFolder { folder in
      func save(
        _ name: String, _ yaml: String, _ layout: ParameterLayout = tinyLayout()
      ) throws -> String {
        var header = tinyHeader(step: 4)
        header.configurationYAML = yaml
        header.provenance["host"] = name
        return try CheckpointStore(folder: folder + "/" + name).save(
          header, layout: layout, from: KnownState()
        ).path
      }
      let base = "seed: 1\ndata:\n  path: data/a\nschedule:\n  # Its peak.\n  peak: 0.1\n"
      let one = try save("a", base)
      let moved = try Comparison(
        of: one, and: save("b", base.replacing("data/a", with: "/scratch/a")))
      #expect(moved.isIdentical)
      #expect(
        moved.provenance == [
          .init(name: "/provenance/host", first: "a", second: "b"),
          .init(name: "data.path", first: "data/a", second: "/scratch/a"),
        ])
      let faster = try Comparison(of: one, and: save("c", base.replacing("0.1", with: "0.2")))
      #expect(!faster.isIdentical)
      #expect(
        faster.configuration == [.init(name: "schedule.peak", first: "0.1", second: "0.2")])

      var turned = ParameterLayout()
      for entry in tinyLayout().entries.reversed() {
        turned.append(entry.name, entry.shape, .constant(0))
      }
      let reordered = try Comparison(of: one, and: save("d", base, turned))
      #expect(!reordered.isIdentical)
      #expect(reordered.texts.map(\.name).contains("/state/tensor_order"))
    }
  }

  @Test func oneElementIsFoundWithTheNumbersOfTheDefinition() throws {
    try withTemporaryFolder { folder in
      let known = KnownState()
      let changed = known.value(36, of: .firstMoment) + 1000
      let one = try CheckpointStore(folder: folder + "/a").save(
        tinyHeader(step: 4), layout: tinyLayout(), from: known)
      var header = tinyHeader(step: 4)
      header.position += 1
      let other = try CheckpointStore(folder: folder + "/b").save(
        header, layout: tinyLayout(),
        from: ChangedState(vector: .firstMoment, index: 36, value: changed))
      let comparison = try Comparison(of: one.path, and: other.path)
      #expect(!comparison.isIdentical)
      #expect(comparison.state == [.init(name: "position", first: "12345", second: "12346")])
      let different = comparison.tensors.filter { $0.difference.differingCount > 0 }
      #expect(different.map(\.path) == ["/optimizer/first_moment/encoder/layer_00/norm/gain"])
      let tensor = try #require(different.first)
      let a = known.values(35..<40, of: .firstMoment).map(Double.init)
      var b = a
      b[1] = Double(changed)
      #expect(tensor.difference.differingCount == 1)
      #expect(tensor.difference.largestAbsolute == abs(a[1] - b[1]))
      #expect(tensor.difference.largestRelative == abs(a[1] - b[1]) / max(abs(a[1]), abs(b[1])))
      let dot = zip(a, b).reduce(0) { $0 + $1.0 * $1.1 }
      let norms = [a, b].map { $0.reduce(0) { $0 + $1 * $1 }.squareRoot() }
      #expect(zip(tensor.norms, norms).allSatisfy { abs($0 - $1) <= 1e-12 * $1 })
      #expect(abs((tensor.cosine ?? 0) - dot / norms[0] / norms[1]) < 1e-12)
      _ = try JSONDecoder().decode(Comparison.self, from: Data(try comparison.encoded()))
    }
  }

  @Test func signsOfZeroAndNaNsAreBits() {
    var difference = TensorDifference()
    let values: [Float] = [0, .nan, .infinity, 1]
    difference.add(
      values, [-0.0, .nan, -.infinity, 1], bits: { UInt64($0.bitPattern) },
      value: { Double($0) })
    #expect(difference.differingCount == 2)
    #expect(difference.nonFiniteCount == 1)
    #expect(difference.largestAbsolute == 0)
  }

  @Test func whatOnlyOneHasIsNamed() throws {
    try withTemporaryFolder { folder in
      let one = try CheckpointStore(folder: folder + "/a").save(
        tinyHeader(step: 4), layout: tinyLayout(), from: KnownState(), hasMoments: false)
      var layout = ParameterLayout()
      layout.append("embedding/weight", [7, 6], .constant(0))
      layout.append("more", [2], .constant(0))
      let other = try CheckpointStore(folder: folder + "/b").save(
        tinyHeader(step: 4), layout: layout, from: KnownState(), hasMoments: false)
      let comparison = try Comparison(of: one.path, and: other.path + "/checkpoint.h5")
      #expect(!comparison.isIdentical)
      #expect(
        comparison.unmatched.first { $0.name == "/parameters/embedding/weight" }
          == .init(
            name: "/parameters/embedding/weight", first: "float32 7x5", second: "float32 7x6"))
      #expect(comparison.unmatched.first { $0.name == "/parameters/more" }?.first == nil)
      #expect(comparison.unmatched.first { $0.name == "/parameters/decoder/scale" }?.second == nil)
      try damage(other.path)
      #expect(failure { _ = try Comparison(of: one.path, and: other.path) }?.exitCode == .badData)
    }
  }

  @Test func verificationNamesTheFirstDamagedTensor() throws {
    try withTemporaryFolder { folder in
      let store = CheckpointStore(folder: folder + "/checkpoints")
      let saved = try store.save(tinyHeader(step: 4), layout: tinyLayout(), from: KnownState())
      let sound = try VerificationReport(of: folder)
      #expect(sound.isSound && sound.problem == nil)
      #expect(sound.step == 4 && sound.byteCount == saved.byteCount)
      let file = try StoredFile.open(saved.path + "/checkpoint.h5")
      let name = "/optimizer/second_moment/encoder/layer_00/query/weight"
      let offset = try #require(try file.dataset(name).offset)
      let path = saved.path + "/checkpoint.h5"
      var bytes = try FileSystem.readAll(path, limit: 1 << 24)
      bytes[offset + 9] ^= 64
      try FileSystem.writeAtomically(bytes, to: path)
      let report = try VerificationReport(of: saved.path)
      #expect(!report.isSound)
      #expect(report.damagedBlock == .init(offset: offset, length: 60, tensor: name))
      #expect(report.problem?.contains("of \(name)") == true)
      bytes[3] ^= 1
      try FileSystem.writeAtomically(bytes, to: path)
      #expect(try VerificationReport(of: saved.path).damagedBlock?.tensor == nil)
      try FileSystem.writeAtomically([1], to: folder + "/other.h5")
      let found = failure { _ = try VerificationReport(of: folder + "/other.h5") }
      #expect(found?.exitCode == .badData)
    }
  }
}
