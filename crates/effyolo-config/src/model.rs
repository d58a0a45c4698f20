use crate::{BackboneSpec, ConfigError, EfficientNetSpec, Rules, TrainSpec};
use effnet_backbone::EfficientNet;
use net_graph::{Backbone, Builder, Graph, NodeId};
use yolo_neck_head::{
    CspBackbone, DetectorError, DflHead, HeadNodes, LayerNames, NeckFactors, NeckScale, PanNeck,
    build_detector,
};

/// Size of neck and head.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NeckSpec {
    /// YOLOv8's scale.
    pub scale: NeckScale,
    /// Multiplies the scale's own width multiplier.
    pub width: f64,
    /// Multiplies the scale's own depth multiplier.
    pub depth: f64,
}

impl NeckSpec {
    /// What multiplies the layers.
    pub fn factors(&self) -> NeckFactors {
        let factors = self.scale.factors();
        NeckFactors { depth: factors.depth * self.depth, width: factors.width * self.width, ..factors }
    }
}

/// What a network is for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Task {
    /// Boxes with classes.
    Detect {
        /// Neck and head; `None` where the network's rows ([`BackboneSpec::Rows`]) hold them.
        neck: Option<NeckSpec>,
    },
    /// One class an image.
    Classify,
}

/// A network and how it is trained.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelSpec {
    /// What it is for.
    pub task: Task,
    /// What turns the image into feature maps.
    pub backbone: BackboneSpec,
    /// Classes.
    pub classes: usize,
    /// How it is trained.
    pub train: TrainSpec,
    /// Which of the backbone's conventions the model file states, by key: `padding`, `bn_eps`, `normalize`.
    pub stated: Vec<&'static str>,
    /// What was changed on the way and should be said, such as an image side that was rounded up.
    pub notes: Vec<String>,
}

/// What a network computes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outputs {
    /// Raw maps and decoded predictions.
    Detector(HeadNodes),
    /// Class scores before the softmax, `[B, K, 1, 1]`.
    Classifier {
        /// The node.
        logits: NodeId,
    },
}

/// A network that was built.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    /// All nodes.
    pub graph: Graph,
    /// The input, `[B, 3, H, W]`, RGB in `[0, 1]`.
    pub image: NodeId,
    /// What it computes.
    pub outputs: Outputs,
    /// Beginnings of the parameter names of the backbone's stem and of each of its stages.
    pub backbone_stages: Vec<Vec<String>>,
}

impl Model {
    /// The head of a detector.
    pub fn head(&self) -> Option<&HeadNodes> {
        match &self.outputs {
            Outputs::Detector(head) => Some(head),
            Outputs::Classifier { .. } => None,
        }
    }

    /// The node that prediction reads: decoded detections, or logits.
    pub fn prediction(&self) -> NodeId {
        match &self.outputs {
            Outputs::Detector(head) => head.predictions,
            Outputs::Classifier { logits } => *logits,
        }
    }

    /// Stage of the backbone that a parameter belongs to: 0 is the stem; `None` for neck, head and classifier.
    pub fn backbone_stage(&self, param: &str) -> Option<usize> {
        self.backbone_stages.iter().position(|stage| stage.iter().any(|prefix| param.starts_with(prefix)))
    }
}

/// Bins a side of YOLOv8's head.
const REG_MAX: usize = 16;

impl ModelSpec {
    /// Builds the network, for `classes` classes where that is given (a data set's), else for its own number.
    ///
    /// # Errors
    /// When `classes` is 0, the neck does not fit the backbone's levels, or a CSP backbone is to classify.
    pub fn build(&self, classes: Option<usize>) -> Result<Model, ConfigError> {
        let classes = classes.unwrap_or(self.classes);
        if classes == 0 {
            return Err(DetectorError::Zero { what: "classes" }.into());
        }
        let (graph, image, outputs) = match (self.task, &self.backbone) {
            (Task::Classify, BackboneSpec::EfficientNet(spec)) => classifier(spec, classes)?,
            (Task::Detect { .. }, BackboneSpec::Rows(rows)) => {
                let (graph, image, head) = rows.build(classes, self.box_bias())?;
                (graph, image, Outputs::Detector(head))
            }
            (Task::Detect { neck: Some(neck) }, _) => self.detector(neck, classes)?,
            (Task::Classify, BackboneSpec::Csp(_) | BackboneSpec::Rows(_))
            | (Task::Detect { neck: None }, _) => {
                panic!("a task that does not suit the network is refused where it is read")
            }
        };
        Ok(Model { graph, image, outputs, backbone_stages: self.backbone.stage_prefixes() })
    }

    fn detector(&self, neck: NeckSpec, class_count: usize) -> Result<(Graph, NodeId, Outputs), ConfigError> {
        let (backbone, names, name): (Box<dyn Backbone>, _, _) = match &self.backbone {
            BackboneSpec::EfficientNet(spec) => {
                let names = LayerNames::Described { prefix: "neck".into() };
                (Box::new(EfficientNet::new(spec.config())), names, "head".to_string())
            }
            BackboneSpec::Csp(spec) => {
                let first = CspBackbone::ROWS;
                let head = first + PanNeck::rows(spec.levels.len());
                let backbone = CspBackbone::new(spec.scale, spec.levels.clone());
                (Box::new(backbone), LayerNames::Rows { first }, format!("model.{head}"))
            }
            BackboneSpec::Rows(_) => unreachable!("rows are built as a whole"),
        };
        let head = DflHead { name, class_count, reg_max: REG_MAX, box_bias: self.box_bias() };
        let strides: Vec<usize> = backbone.levels().iter().map(|&(stride, _)| stride).collect();
        let neck = PanNeck::new(neck.factors(), &strides, names);
        let detector = build_detector(backbone.as_ref(), &neck, &head)?;
        Ok((detector.graph, detector.image, Outputs::Detector(detector.head)))
    }

    /// Start of the last biases of the head's box branch.
    fn box_bias(&self) -> f32 {
        match self.train.rules {
            Rules::Classic => 1.0,
            Rules::Current => 2.0,
        }
    }

    /// Stride of the coarsest map of a detector; image sides must be multiples of it. 1 for a classifier, which
    /// takes any size.
    pub fn stride(&self) -> usize {
        match self.task {
            Task::Detect { .. } => self.backbone.max_stride(),
            Task::Classify => 1,
        }
    }
}

fn classifier(spec: &EfficientNetSpec, classes: usize) -> Result<(Graph, NodeId, Outputs), ConfigError> {
    let mut builder = Builder::new();
    let image = builder.input("image", 3).map_err(DetectorError::from)?;
    let network = EfficientNet::new(spec.config());
    let nodes = network.build_classifier(&mut builder, image, classes).map_err(DetectorError::from)?;
    Ok((builder.finish(), image, Outputs::Classifier { logits: nodes.logits }))
}
