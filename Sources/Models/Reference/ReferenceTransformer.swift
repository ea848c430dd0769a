import Core
import Foundation
import Layers
import Tensors

/// The naive twin of `Transformer`: forward only, in Double, sentence by sentence.
package struct ReferenceTransformer {
  private let shape: TransformerShape
  private let layout: ParameterLayout
  private let dropout: Float
  private let place: Pass.Place

  package init(_ model: Transformer, dropout: Float = 0, place: Pass.Place = Pass.Place()) {
    shape = model.shape
    layout = model.layout
    self.dropout = dropout
    self.place = place
  }

  /// The sum over target tokens of the smoothed cross entropy, for weights in layout order.
  package func loss(_ batch: MicroBatch, weights: [Double], smoothing: Double) -> Double {
    let logits = logits(batch, weights: weights)
    return Reference.crossEntropy(logits, targets: batch.targetOutput, smoothing: smoothing)
  }

  /// The logits of every target token.
  package func logits(_ batch: MicroBatch, weights: [Double]) -> Reference.Rows {
    let parameters = Parameters(layout: layout, values: weights)
    let table = parameters.matrix("embedding/weight")
    var source = embed(batch.source, table, parameters, "encoder", site: 0)
    var target = embed(batch.targetInput, table, parameters, "decoder", site: 1)
    for layer in 0..<shape.encoderLayers {
      let name = "encoder/layer_\(String(format: "%02d", layer))"
      let site = 16 + 4 * layer
      source = sublayer(source, parameters, "\(name)/self_attention_norm", site) {
        attend($0, $0, parameters, "\(name)/self_attention", batch.source, batch.source)
      }
      source = sublayer(source, parameters, "\(name)/feed_forward_norm", site + 1) {
        feed($0, parameters, "\(name)/feed_forward")
      }
    }
    source = finalNorm(source, parameters, "encoder/final_norm")
    for layer in 0..<shape.decoderLayers {
      let name = "decoder/layer_\(String(format: "%02d", layer))"
      let site = 4096 + 4 * layer
      target = sublayer(target, parameters, "\(name)/self_attention_norm", site) {
        attend(
          $0, $0, parameters, "\(name)/self_attention", batch.targetInput, batch.targetInput,
          causal: true)
      }
      target = sublayer(target, parameters, "\(name)/cross_attention_norm", site + 1) {
        attend(
          $0, source, parameters, "\(name)/cross_attention", batch.targetInput, batch.source)
      }
      target = sublayer(target, parameters, "\(name)/feed_forward_norm", site + 2) {
        feed($0, parameters, "\(name)/feed_forward")
      }
    }
    target = finalNorm(target, parameters, "decoder/final_norm")
    return Reference.linear(target, weight: table)
  }

  private struct Parameters {
    let layout: ParameterLayout
    let values: [Double]

    func vector(_ name: String) -> [Double] {
      guard let entry = layout[name] else { preconditionFailure("no parameter \(name)") }
      return Array(values[entry.range])
    }

    func matrix(_ name: String) -> Reference.Rows {
      guard let entry = layout[name] else { preconditionFailure("no parameter \(name)") }
      let columns = entry.shape[1]
      return (0..<entry.shape[0]).map {
        Array(values[entry.offset + $0 * columns..<entry.offset + ($0 + 1) * columns])
      }
    }

    func optionalVector(_ name: String) -> [Double]? {
      layout[name].map { Array(values[$0.range]) }
    }
  }

  private func embed(
    _ sequences: PackedSequences, _ table: Reference.Rows, _ parameters: Parameters,
    _ side: String, site: Int
  ) -> Reference.Rows {
    let factor = Double(shape.dimension).squareRoot()
    let learned =
      shape.positions == .learned ? parameters.matrix("\(side)/positions/weight") : nil
    var rows: Reference.Rows = []
    for sequence in 0..<sequences.count {
      for position in 0..<sequences.length(sequence) {
        let token = sequences.tokens[sequences.offsets[sequence] + position]
        rows.append(
          (0..<shape.dimension).map { i in
            let angle =
              Double(position) / pow(10_000, Double(i / 2 * 2) / Double(shape.dimension))
            let encoding = learned?[position][i] ?? (i % 2 == 0 ? sin(angle) : cos(angle))
            return table[Int(token)][i] * factor + encoding
          })
      }
    }
    return drop(rows, site)
  }

  private func sublayer(
    _ x: Reference.Rows, _ parameters: Parameters, _ norm: String, _ site: Int,
    _ body: (Reference.Rows) -> Reference.Rows
  ) -> Reference.Rows {
    let normalize = { (rows: Reference.Rows) in
      Reference.layerNorm(
        rows, scale: parameters.vector("\(norm)/scale"), bias: parameters.vector("\(norm)/bias"))
    }
    switch shape.norm {
    case .post: return normalize(Reference.add(x, drop(body(x), site)))
    case .pre: return Reference.add(x, drop(body(normalize(x)), site))
    }
  }

  private func finalNorm(
    _ x: Reference.Rows, _ parameters: Parameters, _ name: String
  ) -> Reference.Rows {
    guard shape.norm == .pre else { return x }
    return Reference.layerNorm(
      x, scale: parameters.vector("\(name)/scale"), bias: parameters.vector("\(name)/bias"))
  }

  private func attend(
    _ x: Reference.Rows, _ memory: Reference.Rows, _ parameters: Parameters, _ name: String,
    _ queries: PackedSequences, _ keys: PackedSequences, causal: Bool = false
  ) -> Reference.Rows {
    func project(_ rows: Reference.Rows, _ part: String) -> Reference.Rows {
      Reference.linear(
        rows, weight: parameters.matrix("\(name)/\(part)/weight"),
        bias: parameters.optionalVector("\(name)/\(part)/bias"))
    }
    let (q, k, v) = (project(x, "query"), project(memory, "key"), project(memory, "value"))
    let context = (0..<queries.count).flatMap { sequence -> Reference.Rows in
      let rows = queries.offsets[sequence]..<queries.offsets[sequence + 1]
      let columns = keys.offsets[sequence]..<keys.offsets[sequence + 1]
      return Reference.attention(
        query: Array(q[rows]), key: Array(k[columns]), value: Array(v[columns]),
        heads: shape.heads, causal: causal)
    }
    return project(context, "output")
  }

  private func feed(
    _ x: Reference.Rows, _ parameters: Parameters, _ name: String
  ) -> Reference.Rows {
    let hidden = Reference.linear(
      x, weight: parameters.matrix("\(name)/inner/weight"),
      bias: parameters.vector("\(name)/inner/bias"))
    return Reference.linear(
      Reference.rectify(hidden), weight: parameters.matrix("\(name)/outer/weight"),
      bias: parameters.vector("\(name)/outer/bias"))
  }

  private func drop(_ x: Reference.Rows, _ site: Int) -> Reference.Rows {
    guard dropout > 0 else { return x }
    let stream = RandomStream(
      seed: place.seed, purpose: .dropout, site: site, a: place.step,
      b: place.lane << 16 | place.microBatch)
    return x.enumerated().map { row, values in
      values.enumerated().map { column, value in
        value
          * Reference.dropoutMultiplier(
            probability: dropout, stream: stream, index: row * values.count + column)
      }
    }
  }
}
