// Decode a photo, make it smaller and encode it, in a thread of its own: the page stays quick.
// It is loaded with the first photo, and is no part of the page's script.

addEventListener("message", async ({ data: { id, file, target, small, quality } }) => {
  try {
    const { width, height } = target ?? small;
    const picture = await createImageBitmap(file, {
      resizeWidth: width,
      resizeHeight: height,
      resizeQuality: "high",
      imageOrientation: "from-image",
    });
    const photo = target && (await drawnAt(picture, target, quality));
    const thumbnail = await drawnAt(picture, small, 0.75);
    picture.close();
    postMessage({ id, photo, thumbnail });
  } catch (error) {
    postMessage({ id, fault: String(error) });
  }
});

function drawnAt(picture, { width, height }, quality) {
  const canvas = new OffscreenCanvas(width, height);
  const pen = canvas.getContext("2d");
  pen.fillStyle = "#fff"; // under transparent parts
  pen.fillRect(0, 0, width, height);
  pen.imageSmoothingQuality = "high";
  pen.drawImage(picture, 0, 0, width, height);
  return canvas.convertToBlob({ type: "image/jpeg", quality });
}
