"""What a data set's references are worth as a test, before any model is looked at.

- `references`: which fail, return nothing, depend on the clock or on chance, or leave it open which rows they mean.
- `floor`: what a constant answer scores, the same text for every question.
- `mutants`: how many wrong queries, one change away from the reference, are taken for right.
- `equivalents`: how many right queries, written otherwise (`rewrites`), are taken for wrong.
- `duplicates`: rows of one split that are also, or nearly, in another.

All of it is about how references and scorer tell right from wrong. Whether a reference answers its question is not
looked at: no program here reads the question, except to find duplicates.
"""
