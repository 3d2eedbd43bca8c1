//! What must hold: `metric.aggregate op value unit`, read before the first connection and judged at the end.
