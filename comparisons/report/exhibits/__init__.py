"""Pictures of the three predictions, drawn from what stages have left: one file a figure, `drawn` finds which to draw.

They are drawn when a run is written, from curves alone, so that a changed picture computes no number anew. Texts on
them are short; captions say what is plotted, in which units, and what either side of the prediction would look like.
"""
