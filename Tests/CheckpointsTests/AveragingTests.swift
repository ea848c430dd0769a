import Checkpoints
import Core
import Foundation
import HDF5
import Layers
import Testing

@Suite struct AveragingTests {
  @Test func theMeanIsThatOfEachParameterAndOpensLikeAnyCheckpoint() throws {
    try withTemporaryFolder { folder in
      let store = CheckpointStore(folder: folder + "/checkpoints")
      let layout = tinyLayout()
      let states = [1, 400, 90_000].map { KnownState(salt: $0) }
      for (index, state) in states.enumerated() {
        let header = tinyHeader(step: index + 1, validationLoss: 2.5)
        _ = try store.save(header, layout: layout, from: state)
      }
      let checkpoints = try (1...3).map { try Checkpoint.open(store.path(ofStep: $0)) }
      let out = folder + "/average"
      for _ in 0..<2 {
        _ = try Checkpoint.average(checkpoints, into: out)
        try FileSystem.writeAtomically([1], to: out + "/notes.txt")
      }
      _ = try Checkpoint.average(checkpoints, into: out)
      #expect(
        try FileSystem.names(in: out) == ["checkpoint.h5", "manifest.json", "notes.txt"])
      let average = try Checkpoint.open(out)
      try average.requireLayout(layout)
      #expect(!average.hasMoments)
      #expect(average.header.step == 3)
      #expect(checkpoints[2].header.validationLoss == 2.5)
      #expect(average.header.validationLoss == nil)
      #expect(average.header.tokenizerModel == tinyHeader(step: 3).tokenizerModel)
      #expect(average.header.provenance["average_of_steps"] == "1 2 3")
      let expected = (0..<layout.count).map { index in
        Float(states.reduce(0.0) { $0 + Double($1.value(index, of: .parameters)) } / 3)
      }
      #expect(try bits(average.values(of: .parameters)) == bits(expected))
      #expect(try FileSystem.names(in: folder) == ["average", "checkpoints"])
      #expect(
        failure { _ = try Checkpoint.average(checkpoints, into: store.path(ofStep: 1)) }?.exitCode
          == .cannotCreate)
    }
  }

  @Test func aSlashAtTheEndAndWhatAKilledOneLeftDoNoHarm() throws {
    try withTemporaryFolder { folder in
      let store = CheckpointStore(folder: folder + "/checkpoints")
      _ = try store.save(tinyHeader(step: 1), layout: tinyLayout(), from: KnownState())
      let checkpoints = try [Checkpoint.open(store.path(ofStep: 1))]
      // No process has so high a number, and process 1 lives.
      for name in ["average.tmp-4194305", "average.tmp-1", "average.tmp-x"] {
        try FileSystem.createFolder(folder + "/" + name)
        try FileSystem.writeAtomically([1], to: folder + "/" + name + "/checkpoint.h5")
      }
      // A file of that name is nobody's draft.
      try FileSystem.writeAtomically([1], to: folder + "/average.tmp-4194306")
      for _ in 0..<2 {
        let saved = try Checkpoint.average(checkpoints, into: folder + "/average//")
        #expect(saved.path == folder + "/average")
      }
      #expect(try FileSystem.names(in: folder + "/average") == ["checkpoint.h5", "manifest.json"])
      #expect(
        try FileSystem.names(in: folder)
          == ["average", "average.tmp-1", "average.tmp-4194306", "average.tmp-x", "checkpoints"])
    }
  }

  @Test func differentModelsHaveNoMean() throws {
    try withTemporaryFolder { folder in
      let store = CheckpointStore(folder: folder)
      _ = try store.save(tinyHeader(step: 1), layout: tinyLayout(), from: KnownState())
      var other = ParameterLayout()
      other.append("embedding/weight", [7, 6], .constant(0))
      _ = try store.save(tinyHeader(step: 2), layout: other, from: KnownState())
      let checkpoints = try [1, 2].map { try Checkpoint.open(store.path(ofStep: $0)) }
      let found = failure { _ = try Checkpoint.average(checkpoints, into: folder + "/x") }
      #expect(found?.message.contains("embedding/weight") == true)
    }
  }
}

@Suite struct InspectionTests {
  @Test func statisticsAreThoseOfTheDefinition() {
    var statistics = Statistics()
    let values: [Float] = [1, 2, .nan, -7, .infinity, 4, -.infinity, 1000.5, 0]
    for start in stride(from: 0, to: values.count, by: 2) {
      statistics.add(values[start..<min(start + 2, values.count)])
    }
    let finite = [1.0, 2, -7, 4, 1000.5, 0]
    let mean = finite.reduce(0, +) / 6
    let deviation = (finite.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / 6).squareRoot()
    #expect(abs((statistics.mean ?? 0) - mean) < 1e-12)
    #expect(abs((statistics.standardDeviation ?? 0) - deviation) < 1e-10)
    #expect(statistics.absoluteMaximum == 1000.5)
    #expect(statistics.nanCount == 1)
    #expect(statistics.infinityCount == 2)
    #expect(Statistics().mean == nil)
  }

  @Test func aCheckpointIsShownWithItsTensorsConfigurationAndProvenance() throws {
    try withTemporaryFolder { folder in
      let store = CheckpointStore(folder: folder + "/checkpoints")
      let layout = tinyLayout()
      _ = try store.save(tinyHeader(step: 7), layout: layout, from: KnownState())
      let inspection = try Inspection(of: folder)
      #expect(inspection.verification == .verified)
      #expect(inspection.step == 7)
      #expect(inspection.configuration == tinyHeader(step: 7).configurationYAML)
      #expect(inspection.provenance == tinyHeader(step: 7).provenance)
      #expect(inspection.state?["position"] == .integer(12345))
      #expect(inspection.state?["seed"] == .unsigned(.max))
      let weight = inspection.objects.first { $0.path == "/parameters/embedding/weight" }
      #expect(weight?.shape == [7, 5])
      #expect(weight?.type == "float32")
      var expected = Statistics()
      expected.add(KnownState().values(0..<35, of: .parameters))
      #expect(weight?.statistics == expected)
      let decoded = try JSONDecoder().decode(
        Inspection.self, from: Data(try inspection.encoded()))
      #expect(decoded.objects.count == inspection.objects.count)
      try damage(store.path(ofStep: 7))
      #expect(try Inspection(of: folder).verification == .damaged)
    }
  }

  @Test func whatIsNoTextWhereATextShouldBeIsADefectOfItsOwn() throws {
    try withTemporaryFolder { folder in
      let path = folder + "/odd.h5"
      let file = try File.create(at: path)
      try file.write([Int64(7)], to: "/configuration/yaml")
      try file.writeText("node-1", to: "/provenance/host")
      try file.write([Int64(3)], to: "/provenance/ranks")
      try file.writeTexts(["a", "b"], to: "/provenance/words")
      try file.writeText("marked", to: "/provenance/bytes")
      try file.close()
      var bytes = try FileSystem.readAll(path, limit: 1 << 20)
      let text = try #require(bytes.firstRange(of: Array("marked".utf8))).lowerBound
      bytes[text] = 0xff
      try FileSystem.writeAtomically(bytes, to: path)
      let inspection = try Inspection(of: path)
      #expect(inspection.configuration == nil)
      #expect(inspection.provenance == ["host": "node-1"])
      let defects = inspection.objects.filter { $0.defect != nil }.map(\.path)
      #expect(
        defects == [
          "/configuration/yaml", "/provenance/bytes", "/provenance/ranks", "/provenance/words",
        ])
    }
  }

  @Test func anyHDF5FileIsShown() throws {
    try withTemporaryFolder { folder in
      let path = folder + "/shard.h5"
      let file = try File.create(at: path)
      try file.write([UInt16](0..<9), to: "/source/tokens", storage: .compressed)
      try file.write([1.5, .nan], to: "/doubles")
      try file.setAttribute("pairs", of: "/source", to: .signed(3))
      try file.close()
      let inspection = try Inspection(of: path)
      #expect(inspection.verification == .none)
      #expect(inspection.objects.map(\.path) == ["/doubles", "/source", "/source/tokens"])
      #expect(inspection.objects[0].statistics?.nanCount == 1)
      #expect(inspection.objects[1].attributes == ["pairs": .integer(3)])
      #expect(inspection.objects[2].shape == [9])
      #expect(inspection.objects[2].type == "uint16")
      #expect(failure { _ = try Inspection(of: folder + "/x") }?.exitCode == .missingInput)
    }
  }
}
