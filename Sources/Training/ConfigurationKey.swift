/// One key of the configuration: where it stands, what it may be, what it is for.
package struct ConfigurationKey: Sendable {
  /// Whether a run can be continued with another value.
  enum Effect: Sendable {
    /// Decides what a step computes: a run keeps it for life.
    case binding
    /// Decides the learning rate: may change where somebody says so.
    case schedule
    /// Decides how long, how often, where: may change from launch to launch.
    case free
  }

  /// As on the command line: `batch.lanes`.
  package let path: String
  let effect: Effect
  package let documentation: String
  /// Completes the sentence "expected …".
  let expectation: String
  /// Stores the value in a configuration; false when the text is not a value of this key.
  let assign: @Sendable (ScalarText, inout RunConfiguration) -> Bool
  /// The value as YAML.
  let text: @Sendable (RunConfiguration) -> String

  init<Value: Sendable>(
    _ path: String, _ field: WritableKeyPath<RunConfiguration, Value> & Sendable,
    _ value: ConfigurationValue<Value>, _ documentation: String, _ effect: Effect = .binding
  ) {
    self.path = path
    self.effect = effect
    self.documentation = documentation
    expectation = value.expectation
    assign = { scalar, configuration in
      guard let parsed = value.parse(scalar) else { return false }
      configuration[keyPath: field] = parsed
      return true
    }
    text = { value.format($0[keyPath: field]) }
  }

  /// `model` of `model.heads`; empty for a key at the top.
  var group: String { path.contains(".") ? String(path.prefix { $0 != "." }) : "" }

  /// `heads` of `model.heads`.
  var name: String { path.split(separator: ".").last.map(String.init) ?? path }
}

extension ConfigurationKey {
  /// The groups in the order in which they are written.
  static let groups: [(name: String, documentation: String)] = [
    ("data", "What is learned from."),
    ("model", "The Transformer; the defaults are the paper's base model (table 3)."),
    ("batch", "How much a step sees, and how its gradient is summed."),
    ("train", "How long, and towards what."),
    ("optimizer", "How a gradient becomes an update."),
    ("schedule", "The learning rate over the steps."),
    ("precision", "The number formats."),
    ("parallel", "How the ranks are used; never changes a result."),
    ("checkpoint", "What is kept on disk."),
    ("evaluation", "How often held-out text is measured."),
    ("runtime", "How this machine computes it."),
  ]

  package static let all: [ConfigurationKey] = general + model + optimization + operation

  static let byPath = Dictionary(uniqueKeysWithValues: all.map { ($0.path, $0) })

  private static let general: [ConfigurationKey] = [
    .init(
      "seed", \.seed, .integer(0...UInt64.max),
      "Every random number of the run is drawn from it."),
    .init(
      "data.path", \.data.path, .text,
      "The folder that `lockstep prepare` made; it may move, its content may not change.", .free),
    .init(
      "data.maximum_length", \.data.maximumLength, .orNull(.integer(2...1_000_000)),
      "Pairs with a longer side, end included, are left out; null takes what a micro-batch does."),
    .init(
      "batch.tokens", \.batch.tokens, .integer(1...1_000_000_000),
      "Source tokens and target tokens, each, of one step over all lanes."),
    .init(
      "batch.lanes", \.batch.lanes, .integer(1...65_536),
      "Parts of a step, summed in a fixed tree; also the most replicas there can be."),
    .init(
      "batch.micro_batches", \.batch.microBatches, .integer(1...65_536),
      "Pieces a lane is computed in, one after the other: more need less memory."),
    .init(
      "batch.group_by_length", \.batch.groupByLength, .flag,
      "Similar lengths share a micro-batch; a step of few learns more from mixed ones."),
    .init(
      "train.steps", \.train.steps, .integer(1...1_000_000_000),
      "Updates until the run is done; binding where the schedule ends with them.", .free),
    .init(
      "train.label_smoothing", \.train.labelSmoothing, .fraction,
      "Probability taken from the right piece and spread over the others."),
    .init(
      "train.log_every", \.train.logEvery, .integer(1...1_000_000_000),
      "Steps between two progress lines.", .free),
  ]

  private static let model: [ConfigurationKey] = [
    .init("model.encoder_layers", \.model.encoderLayers, .integer(1...1000), "N of the encoder."),
    .init("model.decoder_layers", \.model.decoderLayers, .integer(1...1000), "N of the decoder."),
    .init(
      "model.dimension", \.model.dimension, .integer(1...65_536),
      "d_model: the width of embeddings and of every sub-layer's output."),
    .init(
      "model.feed_forward", \.model.feedForward, .integer(1...1_048_576),
      "d_ff: the inner width of the feed-forward sub-layers."),
    .init("model.heads", \.model.heads, .integer(1...1024), "h: attention heads."),
    .init(
      "model.key_dimension", \.model.keyDimension, .integer(1...65_536),
      "d_k of one head; without it dimension / heads."),
    .init(
      "model.value_dimension", \.model.valueDimension, .integer(1...65_536),
      "d_v of one head; without it dimension / heads."),
    .init(
      "model.dropout", \.model.dropout, .fraction,
      "On every sub-layer's output and on the sums of embeddings and positions."),
    .init(
      "model.norm", \.model.norm, .choice,
      "Layer normalisation after each residual sum (post, the paper) or before (pre)."),
    .init(
      "model.positions", \.model.positions, .choice,
      "Fixed waves that reach any length (sinusoidal, the paper) or trained vectors (learned)."),
    .init(
      "model.maximum_positions", \.model.maximumPositions, .integer(1...1_000_000),
      "The longest sequence that learned positions cover."),
    .init(
      "model.attention_bias", \.model.attentionBias, .flag,
      "Biases in the projections of attention; the paper has none."),
  ]

  private static let optimization: [ConfigurationKey] = [
    .init(
      "optimizer.kind", \.optimizer.kind, .choice,
      "adam is the paper's; adamw decouples weight decay from the gradient."),
    .init("optimizer.beta1", \.optimizer.beta1, .fraction, "Decay of the gradient's average."),
    .init(
      "optimizer.beta2", \.optimizer.beta2, .fraction, "Decay of the squared gradient's average."),
    .init("optimizer.epsilon", \.optimizer.epsilon, .positive, "Keeps the division finite."),
    .init(
      "optimizer.weight_decay", \.optimizer.weightDecay, .notNegative,
      "Pull of the weights towards zero, of adamw; 0 is none."),
    .init(
      "optimizer.clip_norm", \.optimizer.clipNorm, .notNegative,
      "Longer gradients are scaled down to this global norm; 0 leaves them."),
    .init(
      "schedule.kind", \.schedule.kind, .choice,
      "noam is the paper's; the others rise linearly to peak, then go their way.", .schedule),
    .init(
      "schedule.warmup_steps", \.schedule.warmupSteps, .integer(1...1_000_000_000),
      "Steps of linear rise.", .schedule),
    .init(
      "schedule.factor", \.schedule.factor, .positive, "Scales noam, which needs no peak.",
      .schedule),
    .init(
      "schedule.peak", \.schedule.peak, .orNull(.positive),
      "Learning rate at the end of the rise; noam computes its own (null).", .schedule),
    .init(
      "schedule.final", \.schedule.final, .notNegative,
      "Learning rate at the last step of linear and cosine.", .schedule),
    .init(
      "precision.compute", \.precision.compute, .choice,
      "Operands of large matrix products: bf16 is rounder and faster; all else is fp32."),
  ]

  private static let operation: [ConfigurationKey] = [
    .init(
      "parallel.replicas", \.parallel.replicas, .orAutomatic(.integer(1...65_536)),
      "Copies of the model that share the lanes; auto is as many as the ranks make.", .free),
    .init(
      "parallel.stages", \.parallel.stages, .integer(1...65_536),
      "Parts a copy of the model is cut into, one a rank: ranks = replicas x stages.", .free),
    .init(
      "parallel.schedule", \.parallel.schedule, .choice,
      "How micro-batches run through the stages; 1f1b keeps the fewest in memory.", .free),
    .init(
      "parallel.chunks", \.parallel.chunks, .integer(1...1000),
      "Pieces of the model on each stage, for the interleaved schedule.", .free),
    .init(
      "parallel.stage_blocks", \.parallel.stageBlocks, .orAutomatic(.counts),
      "Layers of each stage, as in 4,4,2,2; auto cuts by cost.", .free),
    .init(
      "parallel.exchange", \.parallel.exchange, .choice,
      "shared memory in a node, messages everywhere, or mpi: sums whose bits depend on ranks.",
      .free),
    .init(
      "parallel.check_every", \.parallel.checkEvery, .integer(1...1_000_000_000),
      "Steps between two comparisons of all copies of the weights.", .free),
    .init(
      "checkpoint.every", \.checkpoint.every, .interval,
      "Steps between two checkpoints (1000), seconds (600s), or auto; the last step has one too.",
      .free),
    .init(
      "checkpoint.keep", \.checkpoint.keep, .integer(1...1_000_000),
      "Newest checkpoints that stay; two always do, so that one can be damaged.", .free),
    .init(
      "checkpoint.keep_every", \.checkpoint.keepEvery, .orNull(.integer(1...1_000_000_000)),
      "Checkpoints of every so many steps stay for good; null keeps none for that.", .free),
    .init(
      "checkpoint.keep_best", \.checkpoint.keepBest, .integer(0...1_000_000),
      "So many checkpoints with the lowest validation loss stay besides.", .free),
    .init(
      "evaluation.every", \.evaluation.every, .integer(1...1_000_000_000),
      "Steps between two measurements of the validation loss.", .free),
    .init(
      "runtime.blas_kernels", \.runtime.blasKernels, .orAutomatic(.word),
      "OpenBLAS kernel set (SkylakeX, Haswell, ...); auto is the best of this CPU.", .free),
    .init(
      "runtime.stall_seconds", \.runtime.stallSeconds, .integer(1...1_000_000),
      "Seconds a rank may wait for others before it says for whom.", .free),
  ]
}
