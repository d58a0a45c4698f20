//! Average precision by COCO's and by Ultralytics' rules.
