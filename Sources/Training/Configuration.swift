import Checkpoints
import Models
import Parallelism

/// Everything that decides what a run computes and how it is kept: one value, decoded from one YAML
/// file and the command line, saved with the run and in every checkpoint.
///
/// What a key means, may be and is by default is declared once, in `ConfigurationKey.all`.
package struct RunConfiguration: Equatable, Sendable {
  package var seed: UInt64 = 1
  package var data = DataGroup()
  package var model = ModelGroup()
  package var batch = BatchGroup()
  package var train = TrainGroup()
  package var optimizer = OptimizerGroup()
  package var schedule = ScheduleGroup()
  package var precision = PrecisionGroup()
  package var parallel = ParallelGroup()
  package var checkpoint = CheckpointGroup()
  package var evaluation = EvaluationGroup()
  package var runtime = RuntimeGroup()

  package init() {}

  package struct DataGroup: Equatable, Sendable {
    package var path = ""
    /// Tokens of the longer side, end token included; nil for what a micro-batch takes.
    package var maximumLength: Int?

    package init() {}
  }

  package struct ModelGroup: Equatable, Sendable {
    package var encoderLayers = 6
    package var decoderLayers = 6
    package var dimension = 512
    package var feedForward = 2048
    package var heads = 8
    package var keyDimension = 64
    package var valueDimension = 64
    package var dropout = 0.1
    package var norm = TransformerShape.Norm.post
    package var positions = TransformerShape.Positions.sinusoidal
    package var maximumPositions = 1024
    package var attentionBias = false

    package init() {}
  }

  package struct BatchGroup: Equatable, Sendable {
    /// Source tokens and target tokens each, a step, over all lanes.
    package var tokens = 25_000
    package var lanes = 8
    /// Of one lane in one step.
    package var microBatches = 1
    /// Whether a micro-batch is of sequences of similar length.
    package var groupByLength = true

    package init() {}
  }

  package struct TrainGroup: Equatable, Sendable {
    package var steps = 100_000
    package var labelSmoothing = 0.1
    package var logEvery = 50

    package init() {}
  }

  package struct OptimizerGroup: Equatable, Sendable {
    package enum Kind: String, CaseIterable, Sendable { case adam, adamw }

    package var kind = Kind.adam
    package var beta1 = 0.9
    package var beta2 = 0.98
    package var epsilon = 1e-9
    package var weightDecay = 0.0
    /// Largest global gradient norm; 0 does not clip.
    package var clipNorm = 0.0

    package init() {}
  }

  package struct ScheduleGroup: Equatable, Sendable {
    package enum Kind: String, CaseIterable, Sendable {
      case noam
      case inverseSqrt = "inverse_sqrt"
      case linear, cosine, constant
    }

    package var kind = Kind.noam
    package var warmupSteps = 4000
    package var factor = 1.0
    /// Learning rate at the end of warm-up; set for every kind but noam.
    package var peak: Double?
    package var final = 0.0

    package init() {}
  }

  package struct PrecisionGroup: Equatable, Sendable {
    package enum Compute: String, CaseIterable, Sendable { case fp32, bf16 }

    /// What the operands of large matrix products are rounded to; their sums and all else are fp32.
    package var compute = Compute.fp32

    package init() {}
  }

  package struct ParallelGroup: Equatable, Sendable {
    package enum Exchange: String, CaseIterable, Sendable { case shared, messages, mpi }

    /// Copies of the model; nil means as many as the ranks make.
    package var replicas: Int?
    package var stages = 1
    /// Of each stage.
    package var chunks = 1
    package var schedule = PipelineSchedule.Kind.oneForwardOneBackward
    /// Layers of each chunk; nil cuts by cost.
    package var stageBlocks: [Int]?
    package var exchange = Exchange.shared
    /// Steps between two comparisons of all copies of the weights.
    package var checkEvery = 100

    package init() {}
  }

  package struct CheckpointGroup: Equatable, Sendable {
    package var every = SaveInterval.steps(1000)
    package var keep = 5
    /// Checkpoints at multiples of this step stay for ever; nil keeps none for that.
    package var keepEvery: Int?
    /// So many with the lowest validation loss stay.
    package var keepBest = 0

    package init() {}

    var retention: RetentionPolicy {
      RetentionPolicy(newest: keep, every: keepEvery, best: keepBest)
    }
  }

  package struct EvaluationGroup: Equatable, Sendable {
    package var every = 1000

    package init() {}
  }

  package struct RuntimeGroup: Equatable, Sendable {
    /// OpenBLAS core name; nil means the best this CPU supports.
    package var blasKernels: String?
    /// Seconds a rank may wait for another before it says so.
    package var stallSeconds = 60

    package init() {}
  }
}

extension RunConfiguration {
  /// The model's dimensions once the tokenizer has told how many pieces there are.
  package func shape(vocabularySize: Int) -> TransformerShape {
    var shape = TransformerShape(vocabularySize: vocabularySize)
    shape.encoderLayers = model.encoderLayers
    shape.decoderLayers = model.decoderLayers
    shape.dimension = model.dimension
    shape.feedForwardDimension = model.feedForward
    shape.heads = model.heads
    shape.keyDimension = model.keyDimension
    shape.valueDimension = model.valueDimension
    shape.norm = model.norm
    shape.positions = model.positions
    shape.attentionBias = model.attentionBias
    shape.maximumLength = model.maximumPositions
    return shape
  }
}
