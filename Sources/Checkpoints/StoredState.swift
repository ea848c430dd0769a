import Core
import HDF5
import Layers

/// What stands in a checkpoint's file: everything but the tensors' values.
struct StoredState {
  let header: CheckpointHeader
  let layout: ParameterLayout
  let hasMoments: Bool
  let spans: [StateVector: [Skeleton.Span]]

  init(in file: StoredFile) throws(Failure) {
    header = try CheckpointHeader(from: file)
    hasMoments = file.contains(StateVector.firstMoment.group)
    layout = try StoredState.layout(in: file)
    spans = try StoredState.spans(
      in: file, layout, hasMoments ? StateVector.allCases : [.parameters])
  }

  /// Names in flat order with the shapes the datasets have.
  private static func layout(in file: StoredFile) throws(Failure) -> ParameterLayout {
    var layout = ParameterLayout()
    // By their bytes, as HDF5 tells names apart.
    var seen: Set<[UInt8]> = []
    for name in try file.readTexts(Format.tensorOrder) {
      // A few bytes of names would else stand for any number of elements.
      guard seen.insert(Array(name.utf8)).inserted else {
        throw Failure(.badData, "\(file.path): names the tensor \(escaped(name)) twice")
      }
      let dataset = try file.dataset(StateVector.parameters.group + "/" + name)
      guard dataset.type == .float32 else {
        throw Failure(.badData, "\(file.path): \(escaped(name)) is not a float32 tensor")
      }
      layout.append(name, dataset.shape, .constant(0))
    }
    guard layout.count == (try file.integerAttribute("parameter_count")) else {
      throw Failure(
        .badData, "\(file.path): its tensors have \(layout.count) elements, it claims another count"
      )
    }
    return layout
  }

  private static func spans(
    in file: StoredFile, _ layout: ParameterLayout, _ vectors: [StateVector]
  ) throws(Failure) -> [StateVector: [Skeleton.Span]] {
    var spans: [StateVector: [Skeleton.Span]] = [:]
    for vector in vectors {
      spans[vector] = []
      for entry in layout.entries where entry.count > 0 {
        let name = vector.group + "/" + entry.name
        let dataset = try file.dataset(name)
        guard dataset.type == .float32, dataset.shape == entry.shape, let offset = dataset.offset
        else {
          throw Failure(
            .badData,
            "\(file.path): \(escaped(name)) is not a contiguous float32 tensor of \(entry.shape)")
        }
        spans[vector]?.append(
          Skeleton.Span(tensor: name, range: entry.range, offset: offset))
      }
    }
    return spans
  }
}
